"""Which rate to try next, when the highest rate is wanted that still holds a limit. Pure.

Doubles while the limit holds, halves while it does not, then halves the gap between the highest rate that held and the
lowest that did not, by their geometric mean, until they are within `tolerance`. What is found must hold once more.

A rate holds if p99 is under the limit and the system keeps up: as many documents leave as come. At a rate it cannot
hold p99 grows with every second, and a step that is short against the limit would not see it get there.

Where two halvings in a row have left p99 as it was, it is not made of waiting, and no lower rate is tried (`is_flat`).
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, floor, isclose, log10, sqrt
from typing import Final

from msgspec import Struct

from mira_stream.benching.load import DOCUMENTS_MAX
from mira_stream.errors import UsageError

STEPS_MAX: Final = 20
RAMP_FROM: Final = 1.0
"""Documents a second, where no rate is named to begin with."""
LOWEST_PER_S: Final = 0.01
CONFIRMED: Final = 2
"""Times that the rate which is found has held: with few documents a step holds or fails by luck."""
KEPT_UP_LEAST: Final = 0.95
"""Of the documents that come, so many leave in the same time, else the backlog grows."""
STEP_LIMITS: Final = 4.0
STEP_S_MIN: Final = 20.0
"""In less a hiccup of the machine looks like a backlog that grows."""
STEP_DOCUMENTS_MIN: Final = 40
"""With fewer a backlog that grows does not stand out from chance."""
FLAT_STEPS: Final = 3
FLAT_LEAST: Final = 0.9
"""Of p99 so much is left at a quarter of the rate: waiting that goes with the rate was at most a seventh of it."""


class Step(Struct, frozen=True):
    """One rate that was tried, what p99 it had, whether it held, the rate out over the rate in, and for how long
    documents came."""

    rate_per_s: float
    p99_ms: float
    holds: bool
    kept_up: float = 1.0
    offered_s: float = 0.0


def step_of(rate_per_s: float, p99_ms: float, kept_up: float, limit_ms: float, offered_s: float) -> Step:
    return Step(rate_per_s, p99_ms, p99_ms <= limit_ms and kept_up >= KEPT_UP_LEAST, kept_up, offered_s)


def said(step: Step, limit_ms: float) -> str:
    """Whether it holds, and what it lacks."""
    over = f"p99 is over {limit_ms:g} ms" if step.p99_ms > limit_ms else ""
    grows = f"only {step.kept_up:.0%} as many left as came" if step.kept_up < KEPT_UP_LEAST else ""
    return "holds" if step.holds else "does not hold: " + ", ".join(filter(None, (over, grows)))


def step_seconds(limit_ms: float, asked: float | None) -> float:
    """How long each rate is offered: as asked, or as short as may be. Raises UsageError(step_short)."""
    least = max(STEP_S_MIN, STEP_LIMITS * limit_ms / 1000)
    if asked is None:
        return least
    if asked < least:
        raise UsageError(
            "step_short",
            f"--step-s {asked:g} is short against --p99-ms {limit_ms:g}: a backlog that grows would not show in it",
            f"use --step-s {least:g} or more",
        )
    return asked


def step_documents(rate_per_s: float, step_s: float) -> int:
    """How many documents a step offers. Raises UsageError(step_long) for more than a turn may have."""
    count = max(STEP_DOCUMENTS_MIN, round(rate_per_s * step_s))
    if count > DOCUMENTS_MAX:
        raise UsageError(
            "step_long",
            f"{rate_per_s:g} documents/s for {step_s:g} s are {count:,} documents a step, of {DOCUMENTS_MAX:,} at most",
            f"begin with --rate {DOCUMENTS_MAX / step_s:.6g} or less, or make steps shorter (--step-s, --p99-ms)",
        )
    return count


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
    if high / low > 1 + tolerance:
        return sqrt(low * high)
    return low if sum(step.rate_per_s == low for step in steps) < CONFIRMED else None


def is_flat(steps: Sequence[Step]) -> bool:
    """Whether a lower rate does not help: the last FLAT_STEPS, each at half the rate of the one before, were refused
    for p99 alone, and the last has hardly less of it than the first. Not where documents came for less time than p99:
    all of them may have been there at once then, and p99 is how long so many take, at whatever rate they came."""
    last = steps[-FLAT_STEPS:]
    return (
        len(last) == FLAT_STEPS
        and all(not step.holds and step.kept_up >= KEPT_UP_LEAST for step in last)
        and all(isclose(lower.rate_per_s, higher.rate_per_s / 2) for higher, lower in pairwise(last))
        and last[-1].p99_ms > FLAT_LEAST * last[0].p99_ms
        and 1000 * last[-1].offered_s >= last[-1].p99_ms
    )


def flat_said(steps: Sequence[Step], limit_ms: float) -> tuple[str, str]:
    """What is so where `is_flat`, and what to do."""
    last = steps[-FLAT_STEPS:]
    rates, times = (
        ", ".join(f"{value:.{digits}g}" for value in values[:-1]) + f" and {values[-1]:.{digits}g}"
        for values, digits in (([step.rate_per_s for step in last], 3), ([step.p99_ms for step in last], 4))
    )
    return (
        f"p99 does not fall with the rate: at {rates} documents/s, all of which leave as they come, it is {times} ms."
        " So it is no waiting behind other documents but at least what the slowest document in a hundred takes by"
        f" itself, and no lower rate brings it under {limit_ms:g} ms",
        f"use --p99-ms {reachable_ms(last)} or more; or begin lower than this search ended, with"
        f" --rate {last[-1].rate_per_s / 2:.2g}",
    )


def reachable_ms(steps: Sequence[Step]) -> int:
    """A limit that p99 of all these steps is under: two digits of it, rounded up."""
    most = max(step.p99_ms for step in steps)
    unit = int(10 ** max(0, floor(log10(most)) - 1))
    return ceil(most / unit) * unit


def highest(steps: Sequence[Step]) -> float | None:
    """The highest rate that held the limit, under the lowest that did not; None if none held."""
    refused = lowest_refused(steps)
    held = [step.rate_per_s for step in steps if step.holds and (refused is None or step.rate_per_s < refused)]
    return max(held, default=None)


def lowest_refused(steps: Sequence[Step]) -> float | None:
    return min((step.rate_per_s for step in steps if not step.holds), default=None)
