"""The downstream proxy: a byte-level neural language model of 0.2 M parameters, the same for every selection.

The architecture is that of Bengio et al., "A Neural Probabilistic Language Model" (2003): the last twelve bytes
embedded, one hidden layer, the next byte. Trained on as many bytes of each selection, then measured in bits a byte on
good documents it has not seen. A proxy for what a selection does to a language model, and no benchmark of a large one.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

CONTEXT: Final = 12
EMBEDDED: Final = 24
HIDDEN: Final = 256
BATCH: Final = 1024
BYTES: Final = 256
RATE: Final = 1e-2
START: Final = b"\0" * CONTEXT


class ByteModel(nn.Module):  # type: ignore[misc]
    """[n, CONTEXT] bytes -> [n, 256] logits of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, EMBEDDED)
        self.inner = nn.Linear(EMBEDDED * CONTEXT, HIDDEN)
        self.outer = nn.Linear(HIDDEN, BYTES)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.outer(functional.gelu(self.inner(self.embedding(ids).flatten(1))))
        return logits


def train(texts: Sequence[str], steps: int, seed: int) -> ByteModel:
    """`steps` batches of BATCH places, drawn anywhere in the texts."""
    torch.manual_seed(seed)
    windows = _windows(texts)
    model = ByteModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    chance = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = windows[torch.randint(len(windows), (BATCH,), generator=chance)].long()
        loss = functional.cross_entropy(model(batch[:, :-1]), batch[:, -1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    return model


def bits_a_byte(model: ByteModel, texts: Sequence[str]) -> float:
    """Mean over all bytes of the texts."""
    losses = _losses(model, texts)
    return float(losses.mean()) / math.log(2)


def bits_of_each(model: ByteModel, texts: Sequence[str]) -> list[float]:
    """Bits a byte of every text: the logarithm of its perplexity."""
    return [bits_a_byte(model, [text]) for text in texts]


def _losses(model: ByteModel, texts: Sequence[str]) -> Tensor:
    with torch.no_grad():
        parts = [functional.cross_entropy(model(part[:, :-1]), part[:, -1], reduction="none") for part in _parts(texts)]
    return torch.cat(parts)


def _parts(texts: Sequence[str]) -> list[Tensor]:
    return [part.long() for part in _windows(texts).split(8192)]


def _windows(texts: Sequence[str]) -> Tensor:
    """[bytes, CONTEXT + 1]: every byte with those before it; each text begins with nothing."""
    joined = b"".join(START + text.encode() for text in texts if text)
    stream = torch.frombuffer(bytearray(joined), dtype=torch.uint8)
    windows = stream.unfold(0, CONTEXT + 1, 1)
    return windows[windows[:, -1] != 0]
