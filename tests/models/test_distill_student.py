"""The training's forward pass is Qwen3's; a tiny student learns documents by heart and is saved whole."""

from pathlib import Path

import orjson
import pytest
import torch
from msgspec import structs
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerState

from mira_stream.distill.batches import collate, in_order, schedule
from mira_stream.distill.callbacks import Progress
from mira_stream.distill.dataset import Lesson
from mira_stream.distill.decode import decode_scores
from mira_stream.distill.examples import Ids, pack, shared_prefix
from mira_stream.distill.folder import load_student
from mira_stream.distill.labels import Label
from mira_stream.distill.optimizer import rate_share
from mira_stream.distill.run import TrainingRun, run_training
from mira_stream.distill.student import hidden_states, logits, new_student
from mira_stream.distill.targets import reply_loss, score_targets
from mira_stream.distill.tokenizer import chat_text, plain_ids, save_tokenizer, vocabulary
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS
from mira_stream.prompt import Prompt
from mira_stream.scorecard import Reply, parse, write
from mira_stream.scoring.student import check_student
from tests.models.student_tiny import RECIPE, TEXTS, tiny_tokenizer

pytestmark = pytest.mark.models


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


def test_a_vocabulary_smaller_than_the_tokenizer_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    names = vocabulary(tokenizer)
    with pytest.raises(ConfigError, match="label --new-tokenizer"):
        new_student(structs.replace(RECIPE.scratch, vocabulary=names.size - 1), names, 1)


def test_packed_replies_get_the_logits_they_would_get_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    model = new_student(RECIPE.scratch, vocabulary(tokenizer), 20).eval()
    prompts = prompts_of(tokenizer)[:3]
    replies = [reply_of(tokenizer, [1 + i] * 15) for i in range(3)]
    prefix = shared_prefix(prompts)
    example = pack(prompts, replies, prefix)
    piece = collate([example], prompts[0][:prefix], example.tokens + 5)
    with torch.no_grad():
        packed = logits(model, hidden_states(model, piece.batch, torch.float32)[0][piece.places])
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
        float(reply_loss(logits_, targets, ids, score_targets(0.6), RECIPE.scratch).scores)
        for logits_ in (right, near, far)
    ]
    assert losses[0] < losses[1] < losses[2]


LESSON = Lesson(Prompt("Judge.", "", "", "0" * 64), SLOTS, "scores_first", "rationale", 2048)


def labels_of(texts: list[str]) -> list[Label]:
    return [
        Label(
            id=f"d{i}",
            source="s",
            split="distill",
            window=0,
            cut=0,
            view=text,
            scores=[float(1 + (i + slot) % 10) for slot in range(15)],
            overall=50.0,
            recommendation="downsample",
            justifications=[f"does {i}"] * 15,
            domain_tag="code",
            brief=f"adds {i}",
        )
        for i, text in enumerate(texts)
    ]


@pytest.fixture(scope="module")
def trained(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    root = tmp_path_factory.mktemp("project")
    save_tokenizer(tokenizer, root / "student")
    run = TrainingRun(
        root, root / "student", root / "curve.png", "text", "featurejudge", "0" * 12, LESSON, labels_of(TEXTS[:4]),
        RECIPE, threads=1, compiled=False,
    )  # fmt: skip
    run_training(run, print)
    return run


def test_a_tiny_student_learns_by_heart_and_is_saved(trained: TrainingRun) -> None:
    check_student(trained.folder)
    state = TrainerState.load_from_json(str(trained.folder / "trainer_state.json"))
    losses = [entry["score_loss"] for entry in state.log_history if "score_loss" in entry]
    assert losses[-1] < 0.1 < losses[0]
    assert state.trial_params["training"]["passes"] == RECIPE.training.passes
    config = orjson.loads((trained.folder / "config.json").read_bytes())
    assert config["mira"] | {"seconds": 0} == {
        "teacher": "featurejudge",
        "group": "text",
        "rubric": "0" * 12,
        "prompt": "0" * 64,
        "examples": 4,
        "seconds": 0,
        "base": "",
        "layout": "scores_first",
        "mode": "rationale",
    }
    assert config["dtype"] == "bfloat16"
    assert config["use_cache"] is True
    with safe_open(trained.folder / "model.safetensors", "pt") as weights:
        assert not [name for name in weights.keys() if name.startswith("lm_head")], "tied: written once"  # noqa: SIM118
    assert trained.curve.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in trained.root.iterdir() if path.name.startswith(".")] == []


def test_stopping_after_the_score_block_changes_no_score(trained: TrainingRun) -> None:
    """Mode `scores` (constrained, fifteen scores and no more) against the whole greedy reply of mode `rationale`."""
    loaded, again = load_student(trained.folder)
    prompts = prompts_of(again)[: len(trained.labels)]
    stopped = decode_scores(loaded, again, prompts, batch=3)
    assert stopped.tolist() == [label.scores for label in trained.labels]
    plain = AutoModelForCausalLM.from_pretrained(str(trained.folder), local_files_only=True)
    for prompt, scores in zip(prompts, stopped.tolist(), strict=True):
        block, whole = (
            again.decode(
                plain.generate(torch.tensor([prompt]), max_new_tokens=tokens)[0, len(prompt) :],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
            for tokens in (34, 400)
        )
        assert whole.startswith(block)
        assert whole.count("[A15]") == 2 > block.count("[A15]") == 1
        assert whole.splitlines()[-1].startswith("[A15] does")
        assert parse(block + "\n", "scores_first", SLOTS).scores == scores
        assert parse(whole, "scores_first", SLOTS).scores == scores


def test_the_plan_holds_every_document_once_a_pass(tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = prompts_of(tokenizer)
    examples = [pack([prompt], [reply_of(tokenizer, [5] * 15)], 0) for prompt in prompts]
    once = structs.replace(RECIPE, training=structs.replace(RECIPE.training, passes=1))
    for plan in (schedule(examples, once), in_order(examples, RECIPE)):
        assert sorted(index for _, indices in plan for index in indices) == list(range(len(prompts)))
        assert all(examples[index].tokens <= length for length, indices in plan for index in indices)


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [rate_share(step, 100, 0.04) for step in range(100)]
    assert max(rates) == pytest.approx(1)
    assert rates[0] < rates[1] < rates[3]
    assert rates[-1] < 0.05


def test_a_training_that_diverges_is_ended() -> None:
    watch, state = Progress("text", print), TrainerState(log_history=[])
    watch.on_train_begin(None, state, None)
    state.log_history.append({"loss": float("nan"), "step": 1})
    with pytest.raises(ConfigError, match="training_diverged"):
        watch.on_log(None, state, None)


def test_a_folder_without_a_student_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="student_invalid"):
        load_student(tmp_path / "none")
