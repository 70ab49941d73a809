"""From fifteen scores to one quality, under a mask.

    quality = 10 x (ftrim over the mask's dimensions that have a score of (s_i - m_i) + mean of all fifteen m_k)

Centring by the group's means m keeps qualities comparable between sources with different masks. `ftrim` sorts
and takes `trim` of the weight, fractionally, from each end. Arithmetic, in this order, so that every replay
agrees to the bit: differences ascending, products weight x difference added by `math.fsum` (order-free), one
division, plus the centre, times 100, noise under 1e-9 removed, rounded half to even to a whole cell, clipped.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from operator import mul
from typing import Final, NamedTuple

from mira_stream.errors import DocumentError
from mira_stream.messages import DIMENSIONS, SLOTS, Mask

CELLS: Final = 1001
"""Qualities have one decimal from 0.0 to 100.0: cell = quality x 10."""
_NOISE_DIGITS: Final = 9


class Lens(NamedTuple):
    """A Mask made ready for arithmetic: `used` are indices 0..14 in slot order."""

    used: tuple[int, ...]
    means: tuple[float, ...]
    centre: float
    trim: float
    dimensions_min: int


class Judged(NamedTuple):
    """A quality as `cell` (quality x 10) and the slots it was made of."""

    cell: int
    dimensions_used: tuple[str, ...]

    @property
    def quality(self) -> float:
        """0.0 to 100.0, one decimal."""
        return self.cell / 10


def lens(mask: Mask) -> Lens:
    """What `judge` needs of a mask."""
    chosen = frozenset(mask.dimensions)
    used = tuple(i for i, slot in enumerate(SLOTS) if slot in chosen)
    centre = math.fsum(mask.means) / DIMENSIONS
    return Lens(used, tuple(mask.means), centre, mask.trim, mask.dimensions_min)


def judge(scores: Sequence[float | None], through: Lens) -> Judged:
    """The quality of fifteen scores. Raises DocumentError(no_reliable_score) if too few of the mask's are there."""
    read = [i for i in through.used if scores[i] is not None]
    if len(read) < through.dimensions_min:
        raise DocumentError(
            "no_reliable_score",
            f"{len(read)} of {len(through.used)} reliable dimensions have a score, {through.dimensions_min} are needed",
        )
    means = through.means
    trimmed = trimmed_mean([score - means[i] for i in read if (score := scores[i]) is not None], through.trim)
    cell = round(round(100 * (trimmed + through.centre), _NOISE_DIGITS))
    return Judged(min(CELLS - 1, max(0, cell)), _slots(tuple(read)))


def trimmed_mean(values: Sequence[float], trim: float) -> float:
    """Mean of what is left when `trim` (0 <= trim < 0.5) of the weight is taken from each end of `values`."""
    weights, whole = _weights(len(values), trim)
    return math.fsum(map(mul, weights, sorted(values))) / whole


@lru_cache(maxsize=256)
def _weights(count: int, trim: float) -> tuple[tuple[float, ...], float]:
    """What each of `count` sorted values weighs, and the sum."""
    first = trim * count
    end = count - first
    weights = tuple(max(0.0, min(i + 1, end) - max(i, first)) for i in range(count))
    return weights, math.fsum(weights)


@lru_cache(maxsize=4096)
def _slots(used: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(SLOTS[i] for i in used)
