"""Synthetic streams of documents with a quality, and what is asked of each kind."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mira_stream.messages import DIMENSIONS, Unit

Floats = NDArray[np.float64]


Ints = NDArray[np.int64]


SD: Final = 1.5
"""Standard deviation of a document's level, in score points."""


class Kind(NamedTuple):
    """One row of the table and its goals: error (points) and agreement (shares), `each` for the worst source."""

    name: str
    shape: str
    unit: Unit = "documents"
    horizon: int = 500
    band: float = 0.0
    oracle: str = "offline"
    error: float | None = None
    mean: float | None = None
    each: float | None = None


KINDS: Final = (
    Kind("stationary", "stationary", error=0.5, mean=0.98, each=0.97),
    Kind("ties", "ties", error=0.5, mean=0.98, each=0.97),
    Kind("tokens", "tokens", unit="tokens", error=0.6, mean=0.96, each=0.96),
    Kind("band 0.1", "stationary", band=0.1),
    Kind("step", "step", oracle="windowed", error=0.6, each=0.94),
    Kind("ramp", "ramp", oracle="windowed", error=0.6, each=0.94),
    Kind("step, horizon 5,000", "step", horizon=5_000, oracle="windowed", each=0.97),
    Kind("ramp, horizon 5,000", "ramp", horizon=5_000, oracle="windowed", each=0.97),
    Kind("stationary, horizon 5,000", "stationary", horizon=5_000),
)


THOUSAND: Final = Kind("1,000 sources", "stationary", error=0.5, mean=0.98, each=0.97)


class Stream(NamedTuple):
    """What a source sends: scores [n, 15] and tokens [n]."""

    scores: NDArray[np.int8]
    tokens: Ints


def make(shape: str, count: int, random: np.random.Generator, shift: float = 0.0) -> Stream:
    """`shift`: how far the source lies off the group, in standard deviations."""
    at = np.linspace(0.0, 1.0, count)
    drift = {"step": (at >= 0.5) * 1.0, "ramp": at * 1.5}.get(shape, np.zeros(count))
    level = 5.5 + SD * (random.normal(size=count) + drift + shift)
    spread = 0.0 if shape == "ties" else 1.0
    scores = np.clip(np.rint(level[:, None] + spread * random.normal(size=(count, DIMENSIONS))), 1, 10)
    tokens = np.full(count, 700)
    if shape == "tokens":
        tokens = np.exp(6.3 + 0.1 * level + 1.2 * random.normal(size=count)).astype(np.int64)
    return Stream(scores.astype(np.int8), np.clip(tokens, 1, 32_768))
