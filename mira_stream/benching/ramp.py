"""Which rate to try next, when the highest rate is wanted that still holds a limit. Pure.

Doubles while the limit holds, halves while it does not, then halves the gap between the highest rate that held and the
lowest that did not, by their geometric mean, until they are within `tolerance`.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Final

from msgspec import Struct

STEPS_MAX: Final = 16
LOWEST_PER_S: Final = 0.01


class Step(Struct, frozen=True):
    """One rate that was tried, what p99 it had, and whether that was under the limit."""

    rate_per_s: float
    p99_ms: float
    holds: bool


def next_rate(steps: Sequence[Step], start: float, tolerance: float = 0.1) -> float | None:
    """The next rate to try; None when the search has ended."""
    if not steps:
        return start
    if len(steps) >= STEPS_MAX:
        return None
    low, high = highest(steps), lowest_refused(steps)
    if high is None:
        assert low is not None
        return 2 * low
    if low is None:
        return high / 2 if high / 2 >= LOWEST_PER_S else None
    return None if high / low <= 1 + tolerance else sqrt(low * high)


def highest(steps: Sequence[Step]) -> float | None:
    """The highest rate that held the limit, under the lowest that did not; None if none held."""
    refused = lowest_refused(steps)
    held = [step.rate_per_s for step in steps if step.holds and (refused is None or step.rate_per_s < refused)]
    return max(held, default=None)


def lowest_refused(steps: Sequence[Step]) -> float | None:
    return min((step.rate_per_s for step in steps if not step.holds), default=None)
