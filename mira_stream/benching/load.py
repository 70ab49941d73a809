"""What a turn is loaded with: so many documents outstanding (closed loop), or so many a second (open loop). Pure."""

import random
from collections.abc import Iterator
from typing import Annotated, Final

from msgspec import Meta, Struct

DOCUMENTS_MAX: Final = 1_000_000
"""Of a turn: each is remembered until it ends (half a kilobyte), and beyond so many a number is a slip."""

Positive = Annotated[int, Meta(gt=0)]


class Load(Struct, frozen=True, kw_only=True):
    """Closed loop: a document is sent when fewer than `outstanding` have no outcome yet. Open loop: documents come at
    `rate_per_s` as a Poisson process, whatever the system does; a late answer does not hold back the next document,
    and latency counts from when a document was due (no coordinated omission)."""

    documents: Positive
    outstanding: Positive = 1
    rate_per_s: float | None = None

    @property
    def is_open(self) -> bool:
        return self.rate_per_s is not None


def arrivals(rate_per_s: float, count: int, seed: int) -> Iterator[float]:
    """Seconds after the start at which `count` documents are due; gaps are exponential with mean 1 / rate."""
    chance, at = random.Random(seed), 0.0
    for _ in range(count):
        at += chance.expovariate(rate_per_s)
        yield at
