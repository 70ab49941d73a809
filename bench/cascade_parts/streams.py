"""Simulated streams: a teacher's quality for each document, and what a full and a cheap stage make of it."""

from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mira_stream.messages import DIMENSIONS, SLOTS, Mask, Prior

Floats = NDArray[np.float64]
GROUP, SOURCE, LINEAGE = "text", "simulated", "0123456789ab"
BARE: Final = Mask(
    mask="m1", group=GROUP, source=SOURCE, lineage=LINEAGE, dimensions=list(SLOTS), means=[0.0] * DIMENSIONS, trim=0.1
)


class Kind(NamedTuple):
    """How streams of a row are drawn: standard deviations of the errors, in points of a quality that has 12.

    `drift`: by how many standard deviations the level climbs; `worse`: by what the cheap errors grow half way.
    """

    name: str
    full: tuple[float, float] = (2.0, 6.0)
    cheap: tuple[float, float] = (2.0, 7.0)
    drift: float = 0.0
    worse: float = 1.0


KINDS: Final = (
    Kind("stationary"),
    Kind("near cheap stage", cheap=(1.0, 2.0)),
    Kind("far cheap stage", cheap=(7.0, 10.0)),
    Kind("level climbs by one sd", drift=1.0),
    Kind("cheap errors double", worse=2.0),
)


class Stream(NamedTuple):
    """Qualities and prompt tokens of each document, in order; the first `held_out` are the held-out set."""

    target: float
    held_out: int
    teacher: Floats
    full: Floats
    cheap: Floats
    tokens: NDArray[np.int64]


def make(kind: Kind, documents: int, random: np.random.Generator) -> Stream:
    target = round(float(random.uniform(0.2, 0.7)), 3)
    held_out = int(random.choice([200, 300, 500]))
    count = held_out + documents
    at = np.concatenate([np.zeros(held_out), np.linspace(0.0, 1.0, documents)])
    teacher = 58 + 12 * (random.normal(size=count) + kind.drift * at)
    shared = random.normal(size=count) * random.uniform(*kind.full)
    extra = random.normal(size=count) * random.uniform(*kind.cheap) * np.where(at >= 0.5, kind.worse, 1.0)
    own = random.normal(size=count) * random.uniform(0.5, 1.5)
    tokens = np.clip(np.exp(7 + random.normal(size=count)), 50, 32_768).astype(np.int64)
    full = _grid(teacher + shared + own)
    return Stream(target, held_out, teacher, full, _grid(teacher + shared + extra + random.uniform(-1, 1)), tokens)


def _grid(qualities: Floats) -> Floats:
    return np.asarray(np.round(np.clip(qualities, 0, 100), 1), np.float64)


def mask_of(stream: Stream) -> Mask:
    """With the prior of the held-out set."""
    counts: dict[str, float] = {}
    for quality in stream.full[: stream.held_out].tolist():
        cell = str(round(quality * 10))
        counts[cell] = counts.get(cell, 0.0) + 1.0
    return replace(BARE, prior=Prior(cells=counts, documents=stream.held_out, tokens=0))
