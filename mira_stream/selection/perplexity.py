"""The perplexity baseline: how surprised a causal language model is by a document.

The measure is the mean negative log-likelihood a token in nats, ln(perplexity), over all tokens but the first; a model
whose context is shorter reads a document in windows: each token is scored once, with at least half a window before it.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mira_stream.errors import ConfigError

TOKENS_MAX: Final = 2048
BATCH_TOKENS: Final = 8192
LOGITS_MAX: Final = 2**27
"""So many logits are held at once, half a GiB in float32, unless one window has more."""
POSITIONS: Final = 256
"""So many of them are turned into likelihoods at once."""


class Surprise(NamedTuple):
    """The sum of negative log-likelihoods of the scored tokens, and how many they are."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats a token; NaN if no token was scored."""
        return self.total / self.tokens if self.tokens else math.nan


class Window(NamedTuple):
    """Token ids of which those from `first` on are scored (first >= 1)."""

    ids: Sequence[int]
    first: int


class LogLikelihood(Protocol):
    """Scores windows: negative log-likelihoods of the tokens from `first` on, summed, one number a window.

    vLLM's `prompt_logprobs` fills it as well: its value of a prompt token is log p of that token given those before.
    """

    def __call__(self, windows: Sequence[Window], /) -> Sequence[float]: ...


def mean_nll(
    model: Path | LogLikelihood,
    texts: Iterable[str],
    *,
    tokenize: Any | None = None,
    tokens_max: int = TOKENS_MAX,
    batch_tokens: int = BATCH_TOKENS,
) -> NDArray[np.float64]:
    """float64[n]: mean negative log-likelihood a token; NaN for a text of fewer than two tokens.

    `model` is the folder of a causal language model with its tokenizer, or a LogLikelihood with `tokenize` (text ->
    token ids). Raises ConfigError(model_unreadable) for a folder that holds none.
    """
    if isinstance(model, Path):
        scorer, tokenize, context = load_model(model)
        tokens_max = min(tokens_max, context)
    else:
        scorer = model
    if tokenize is None:
        raise ValueError("a LogLikelihood needs `tokenize`")
    if tokens_max < 2:
        raise ValueError("windows need two tokens")
    found: list[Surprise] = []
    for batch in _batches((tokenize(text) for text in texts), batch_tokens):
        found += _surprises(scorer, batch, tokens_max)
    return np.array([surprise.mean for surprise in found], dtype=np.float64)


def windows(ids: Sequence[int], tokens_max: int) -> list[Window]:
    """Windows of up to `tokens_max` tokens, half overlapping, that score every token but the first exactly once."""
    if len(ids) < 2:
        return []
    found = [Window(ids[:tokens_max], 1)]
    done = min(len(ids), tokens_max)
    step = max(1, tokens_max // 2)
    while done < len(ids):
        end = min(len(ids), done + step)
        start = max(0, end - tokens_max)
        found.append(Window(ids[start:end], done - start))
        done = end
    return found


def load_model(folder: Path) -> tuple[LogLikelihood, Any, int]:
    """A causal language model on this machine's CPU: (scorer, text -> token ids, context in tokens).

    Raises ConfigError(model_unreadable).
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        if not folder.is_dir():
            raise NotADirectoryError("there is no such folder")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        network = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype="auto", local_files_only=True, trust_remote_code=False
        ).eval()
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            "model_unreadable", f"{folder}: {error}", "name the folder of a causal language model (safetensors)"
        ) from None
    context = int(getattr(network.config, "max_position_embeddings", TOKENS_MAX))

    def tokenize(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    return TransformersLikelihood(network), tokenize, context


class TransformersLikelihood:
    """A LogLikelihood by a transformers model. Windows of one call are padded into batches whose logits are at most
    LOGITS_MAX numbers, or one window's: a vocabulary of 150,000 would fill the machine else."""

    def __init__(self, network: Any) -> None:
        self._network = network

    def __call__(self, windows: Sequence[Window]) -> list[float]:
        longest = max(len(window.ids) for window in windows)
        rows = max(1, LOGITS_MAX // (longest * int(self._network.config.vocab_size)))
        return [
            value for start in range(0, len(windows), rows) for value in self._together(windows[start : start + rows])
        ]

    def _together(self, windows: Sequence[Window]) -> list[float]:
        import torch

        longest = max(len(window.ids) for window in windows)
        ids = torch.zeros((len(windows), longest), dtype=torch.long)
        real = torch.zeros_like(ids)
        for row, window in enumerate(windows):
            ids[row, : len(window.ids)] = torch.tensor(list(window.ids))
            real[row, : len(window.ids)] = 1
        with torch.inference_mode():
            logits = self._network(input_ids=ids, attention_mask=real).logits
            return [_summed_nll(logits[row], ids[row], window) for row, window in enumerate(windows)]


def _summed_nll(logits: Any, ids: Any, window: Window) -> float:
    """The window's sum, of logits [longest, vocabulary] and ids [longest], some positions at a time."""
    from torch.nn.functional import cross_entropy

    total = 0.0
    for start in range(window.first, len(window.ids), POSITIONS):
        end = min(start + POSITIONS, len(window.ids))
        losses = cross_entropy(logits[start - 1 : end - 1].float(), ids[start:end], reduction="none")
        total += float(losses.double().sum())
    return total


def _batches(documents: Iterable[Sequence[int]], tokens: int) -> Iterable[list[Sequence[int]]]:
    batch: list[Sequence[int]] = []
    held = 0
    for ids in documents:
        if batch and held + len(ids) > tokens:
            yield batch
            batch, held = [], 0
        batch.append(ids)
        held += len(ids)
    if batch:
        yield batch


def _surprises(scorer: LogLikelihood, documents: Sequence[Sequence[int]], tokens_max: int) -> list[Surprise]:
    """One Surprise a document; windows of about one length share a batch."""
    owned = [(number, window) for number, ids in enumerate(documents) for window in windows(ids, tokens_max)]
    owned.sort(key=lambda pair: len(pair[1].ids))
    totals = [0.0] * len(documents)
    for start in range(0, len(owned), 16):
        part = owned[start : start + 16]
        for (number, _), value in zip(part, scorer([window for _, window in part]), strict=True):
            totals[number] += value
    return [Surprise(total, max(0, len(ids) - 1)) for total, ids in zip(totals, documents, strict=True)]
