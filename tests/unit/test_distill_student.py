"""The training's forward pass is Qwen3's; a tiny student learns eight documents by heart and is saved whole."""

from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from msgspec import structs
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from mira_stream.distill.decode import decode_scores
from mira_stream.distill.examples import Ids, pack, shared_prefix
from mira_stream.distill.folder import Making, load_student, log_entry, save_student
from mira_stream.distill.student import hidden_states, logits, new_student
from mira_stream.distill.targets import reply_loss, score_targets
from mira_stream.distill.tokenizer import chat_text, plain_ids, vocabulary
from mira_stream.distill.train import collate, learning_rate_at, schedule, train
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS
from mira_stream.scorecard import Reply, write
from mira_stream.scoring.student import check_student
from tests.unit.student_tiny import RECIPE, TEXTS, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    torch.set_num_threads(1)
    return tiny_tokenizer()


def prompts_of(tokenizer: PreTrainedTokenizerFast) -> list[Ids]:
    system = {"role": "system", "content": "Judge."}
    return [plain_ids(tokenizer, chat_text([system, {"role": "user", "content": text}])) for text in TEXTS]


def reply_of(tokenizer: PreTrainedTokenizerFast, scores: list[int]) -> Ids:
    text = write(Reply(scores, 50, "downsample"), "scores_first", "scores", SLOTS)
    return [*plain_ids(tokenizer, text), vocabulary(tokenizer).end]


def test_packed_replies_get_the_logits_they_would_get_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    model = new_student(RECIPE, vocabulary(tokenizer)).eval()
    prompts = prompts_of(tokenizer)[:3]
    replies = [reply_of(tokenizer, [1 + i] * 15) for i in range(3)]
    prefix = shared_prefix(prompts)
    example = pack(prompts, replies, prefix)
    piece = collate([example], prompts[0][:prefix], example.tokens + 5)
    with torch.no_grad():
        packed = logits(model, hidden_states(model, piece.batch)[0][piece.places])
        alone = [
            model(torch.tensor([prompt + reply[:-1]])).logits[0, len(prompt) - 1 :]
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
    assert torch.allclose(packed, torch.cat(alone), atol=1e-4)


def test_scores_are_ordered_targets_around_the_teachers() -> None:
    targets = score_targets(0.6)
    assert torch.allclose(targets.sum(1), torch.ones(10))
    assert targets.argmax(1).tolist() == list(range(10))
    assert targets[4, 5] > targets[4, 6] > targets[4, 9]
    assert torch.equal(score_targets(0), torch.eye(10))


def test_the_loss_is_least_where_the_scores_are_right() -> None:
    ids, targets = torch.arange(10), torch.tensor([3, 11])
    right = torch.full((2, 12), -9.0)
    right[0, 3], right[1, 11] = 9.0, 9.0
    near, far = right.clone(), right.clone()
    near[0, 3], near[0, 4] = -9.0, 9.0
    far[0, 3], far[0, 9] = -9.0, 9.0
    losses = [
        float(reply_loss(logits_, targets, ids, score_targets(0.6), RECIPE).scores) for logits_ in (right, near, far)
    ]
    assert losses[0] < losses[1] < losses[2]


def test_a_tiny_student_learns_eight_documents_and_is_saved(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    names = vocabulary(tokenizer)
    model = new_student(RECIPE, names)
    prompts = prompts_of(tokenizer)
    wanted = 1 + (np.arange(len(prompts))[:, None] + np.arange(15)) % 10
    replies = [reply_of(tokenizer, scores) for scores in wanted.tolist()]
    prefix = shared_prefix(prompts)
    examples = [pack([prompt], [reply], prefix) for prompt, reply in zip(prompts, replies, strict=True)]
    log = [log_entry(entry, {}) for entry in train(model, examples, prompts[0][:prefix], names, RECIPE)]
    assert log[-1]["score_loss"] < 0.1 < log[0]["score_loss"]
    save_student(tmp_path, model, tokenizer, Making("featurejudge", "text", "0" * 12, 8, 1.0), RECIPE, log)
    check_student(tmp_path)
    loaded, again = load_student(tmp_path)
    assert decode_scores(loaded, again, prompts, batch=3).tolist() == wanted.tolist()
    plain = AutoModelForCausalLM.from_pretrained(str(tmp_path), local_files_only=True)
    said = plain.generate(torch.tensor([prompts[0]]), max_new_tokens=60)[0, len(prompts[0]) :]
    assert said.tolist() == replies[0]
    config = orjson.loads((tmp_path / "config.json").read_bytes())
    assert config["mira"] == {
        "teacher": "featurejudge",
        "group": "text",
        "rubric": "0" * 12,
        "examples": 8,
        "seconds": 1.0,
    }
    state = orjson.loads((tmp_path / "trainer_state.json").read_bytes())
    assert state["log_history"][-1]["step"] == state["global_step"]


def test_the_plan_holds_every_document_once_a_pass(tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = prompts_of(tokenizer)
    examples = [pack([prompt], [reply_of(tokenizer, [5] * 15)], 0) for prompt in prompts]
    plan = schedule(examples, structs.replace(RECIPE, epochs=1))
    assert sorted(index for _, indices in plan for index in indices) == list(range(len(prompts)))
    assert all(examples[index].tokens <= length for length, indices in plan for index in indices)


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [learning_rate_at(step, 100, RECIPE) for step in range(100)]
    assert max(rates) == pytest.approx(RECIPE.learning_rate)
    assert rates[0] < rates[1] < rates[3]
    assert rates[-1] < 0.05 * RECIPE.learning_rate


def test_a_folder_without_a_student_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="student_invalid"):
        load_student(tmp_path / "none")
