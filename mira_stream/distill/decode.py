"""Greedy, constrained decoding of the fifteen scores with plain transformers: what the served student replies."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedTokenizerFast, Qwen3ForCausalLM

from mira_stream.distill.examples import Ids, shared_prefix
from mira_stream.distill.tokenizer import plain_ids, vocabulary
from mira_stream.messages import SLOTS

BATCH: Final = 32


class _Prefix(NamedTuple):
    """What all prompts begin with, computed once: `length` tokens and the keys and values of one row of them."""

    length: int
    cache: DynamicCache


def decode_scores(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Ids],
    batch: int = BATCH,
    *,
    expected: bool = False,
) -> NDArray[np.float64]:
    """[documents, 15] scores, 1 to 10: the most likely of the ten scores in each line, given those before it; or what
    is to be `expected` there, the mean over the ten (mode `expected`), in the same lines.

    The words between the scores are the layout's own, as a grammar would force them. Tokens that all prompts begin
    with are computed once.
    """
    if not prompts:
        return np.zeros((0, len(SLOTS)))
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    scores = np.zeros((len(prompts), len(SLOTS)))
    with torch.no_grad():
        prefix = _prefix(model, prompts)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            scores[chosen] = _decode_batch(model, tokenizer, [prompts[index] for index in chosen], prefix, expected)
    return scores


def _prefix(model: Qwen3ForCausalLM, prompts: Sequence[Ids]) -> _Prefix:
    cache = DynamicCache(config=model.config)
    length = shared_prefix(prompts)
    if length:
        model(input_ids=torch.tensor([prompts[0][:length]]), past_key_values=cache, logits_to_keep=1)
    return _Prefix(length, cache)


def _decode_batch(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    whole: Sequence[Ids],
    prefix: _Prefix,
    expected: bool,
) -> NDArray[np.float64]:
    prompts = [prompt[prefix.length :] for prompt in whole]
    names = vocabulary(tokenizer)
    slots = [plain_ids(tokenizer, f"[{slot}]" if index == 0 else f"\n[{slot}]") for index, slot in enumerate(SLOTS)]
    longest = max(map(len, prompts)) + len(slots[0])
    pads = [longest - len(prompt) - len(slots[0]) for prompt in prompts]
    fed = torch.tensor([[names.pad] * pad + prompt + slots[0] for pad, prompt in zip(pads, prompts, strict=True)])
    seen = torch.tensor([[1] * prefix.length + [0] * pad + [1] * (longest - pad) for pad in pads])
    positions = (seen.cumsum(1) - 1).clamp(min=0)[:, prefix.length :]
    cache = deepcopy(prefix.cache)
    if prefix.length:
        cache.batch_repeat_interleave(len(prompts))
    score_ids = torch.tensor(names.scores)
    points = torch.arange(1.0, 1 + len(names.scores))
    read = []
    for index in range(len(SLOTS)):
        out = model(input_ids=fed, attention_mask=seen, position_ids=positions, past_key_values=cache, logits_to_keep=1)
        logits = out.logits[:, -1, score_ids].float()
        best = logits.argmax(1)
        read.append(logits.softmax(1) @ points if expected else best + 1)
        if index + 1 < len(SLOTS):
            words = torch.tensor(slots[index + 1]).expand(len(prompts), -1)
            fed = torch.cat([score_ids[best][:, None], words], dim=1)
            seen = torch.cat([seen, torch.ones_like(fed)], dim=1)
            positions = positions[:, -1:] + torch.arange(1, fed.shape[1] + 1)
    scores: NDArray[np.float64] = torch.stack(read, dim=1).numpy().astype(np.float64)
    return scores
