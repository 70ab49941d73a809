"""Greedy, constrained decoding of the fifteen scores with plain transformers: what the served student replies."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedTokenizerFast, Qwen3ForCausalLM

from mira_stream.distill.examples import Ids
from mira_stream.distill.tokenizer import plain_ids, vocabulary
from mira_stream.messages import SLOTS

BATCH: Final = 32


def decode_scores(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Ids], batch: int = BATCH
) -> NDArray[np.float64]:
    """[documents, 15] scores, 1 to 10: the most likely of the ten scores in each line, given those before it.

    The words between the scores are the layout's own, as a grammar would force them.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    scores = np.zeros((len(prompts), len(SLOTS)))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        with torch.no_grad():
            scores[chosen] = _decode_batch(model, tokenizer, [prompts[index] for index in chosen])
    return scores


def _decode_batch(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Ids]
) -> NDArray[np.float64]:
    names = vocabulary(tokenizer)
    slots = [plain_ids(tokenizer, f"[{slot}]" if index == 0 else f"\n[{slot}]") for index, slot in enumerate(SLOTS)]
    longest = max(map(len, prompts)) + len(slots[0])
    pads = [longest - len(prompt) - len(slots[0]) for prompt in prompts]
    fed = torch.tensor([[names.pad] * pad + prompt + slots[0] for pad, prompt in zip(pads, prompts, strict=True)])
    seen = torch.tensor([[0] * pad + [1] * (longest - pad) for pad in pads])
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    score_ids = torch.tensor(names.scores)
    read = []
    for index in range(len(SLOTS)):
        out = model(input_ids=fed, attention_mask=seen, position_ids=positions, past_key_values=cache, logits_to_keep=1)
        best = out.logits[:, -1, score_ids].argmax(1)
        read.append(best + 1)
        if index + 1 < len(SLOTS):
            words = torch.tensor(slots[index + 1]).expand(len(prompts), -1)
            fed = torch.cat([score_ids[best][:, None], words], dim=1)
            seen = torch.cat([seen, torch.ones_like(fed)], dim=1)
            positions = positions[:, -1:] + torch.arange(1, fed.shape[1] + 1)
    scores: NDArray[np.float64] = torch.stack(read, dim=1).numpy().astype(np.float64)
    return scores
