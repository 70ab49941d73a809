"""Decoding of scores: a prompt's scores are its own, whoever else is in the batch."""

from collections.abc import Iterator

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from mira_stream.distill.decode import decode_scores
from mira_stream.distill.examples import Ids, shared_prefix
from mira_stream.distill.tokenizer import chat_text, plain_ids, train_tokenizer, vocabulary
from mira_stream.messages import SLOTS

pytestmark = pytest.mark.models

TEXTS = [f"def f{i}(x):\n    return x + {i}  # adds {'some ' * i}\n" for i in range(8)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 560)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerFast) -> Iterator[Qwen3ForCausalLM]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=2048,
        initializer_range=0.5,
    )
    yield Qwen3ForCausalLM(config).eval()
    torch.set_num_threads(threads)


def prompts_of(tokenizer: PreTrainedTokenizerFast) -> list[Ids]:
    system = {"role": "system", "content": "Judge what follows. 7/10 is good."}
    return [plain_ids(tokenizer, chat_text([system, {"role": "user", "content": text}])) for text in TEXTS]


def step_by_step(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: Ids) -> list[float]:
    """The same by the plainest means: the whole sequence again for every score, without a cache."""
    scores = torch.tensor(vocabulary(tokenizer).scores)
    ids, found = list(prompt), []
    for index, slot in enumerate(SLOTS):
        ids += plain_ids(tokenizer, f"[{slot}]" if index == 0 else f"\n[{slot}]")
        with torch.no_grad():
            best = int(model(input_ids=torch.tensor([ids])).logits[0, -1, scores].argmax())
        ids.append(int(scores[best]))
        found.append(float(best + 1))
    return found


def test_what_prompts_share_is_computed_once_and_changes_no_score(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    prompts = prompts_of(tokenizer)
    assert shared_prefix(prompts) > 5
    wanted = [step_by_step(model, tokenizer, prompt) for prompt in prompts]
    assert len({tuple(scores) for scores in wanted}) > 1
    assert decode_scores(model, tokenizer, prompts, batch=3).tolist() == wanted
    assert decode_scores(model, tokenizer, prompts[:1]).tolist() == wanted[:1]


def test_what_is_expected_is_the_mean_over_the_ten_scores(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    prompts = prompts_of(tokenizer)
    ids = torch.tensor(vocabulary(tokenizer).scores)
    found, said = (
        decode_scores(model, tokenizer, prompts, batch=3, expected=True),
        decode_scores(model, tokenizer, prompts),
    )
    for prompt, first in zip(prompts, found[:, 0], strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *plain_ids(tokenizer, "[A1]")]])).logits[0, -1, ids]
        assert first == pytest.approx(float(logits.float().softmax(0) @ torch.arange(1.0, 11.0)), abs=1e-3)
    assert ((found >= 1) & (found <= 10)).all()
    assert not (found == said).all()


def test_prompts_that_share_nothing_are_decoded_too(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    prompts = [plain_ids(tokenizer, "one prompt"), plain_ids(tokenizer, "[A1] another, which is longer")]
    assert shared_prefix(prompts) == 0
    assert decode_scores(model, tokenizer, prompts).tolist() == [step_by_step(model, tokenizer, p) for p in prompts]


def test_no_prompt_has_no_scores(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    assert decode_scores(model, tokenizer, []).shape == (0, len(SLOTS))
