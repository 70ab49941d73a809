"""Coordinate search: one setting after the other, each value against the best so far, in alternating repetitions. Pure.

A duel is pairs of repetitions, one of each side, the order changing from pair to pair, so that what the machine does
meanwhile meets both. A challenger that is slower in each of the first EARLY pairs by more than BEHIND is given up. It
wins if the whole confidence interval of the mean log ratio (Student's t over pairs) lies above no gain. With many
duels some win by chance: at the end each change must win once more, in fresh pairs against the best without it, or it
is dropped. Two wins by chance alone come about once in 1,600 changes that do nothing.
"""

from collections.abc import Generator, Mapping, Sequence
from math import exp, log, sqrt
from statistics import fmean, median, stdev
from typing import Final, Literal

from msgspec import Struct
from scipy import stats

from mira_stream.tuning.space import Choice, Knob, Value, said

CONFIDENCE: Final = 0.95
EARLY: Final = 2
BEHIND: Final = 0.03
PAIRS_MIN: Final = 3
"""Fewer pairs have no interval worth the name."""
Verdict = Literal["won", "no gain", "slower", "given up", "failed"]
VERIFY: Final = "confirmation"


class Failed(Exception):
    """Settings that no engine runs with; the text says why. Thrown into the search in place of a rate."""


class Interval(Struct, frozen=True):
    """Of the ratio challenger / best."""

    ratio: float
    low: float
    high: float


class Duel(Struct, frozen=True, kw_only=True):
    """One challenger: `changes` against the settings in force at the start. Rates in documents/s, pair by pair."""

    knob: str
    value: str
    changes: dict[str, Value]
    base: list[float]
    tried: list[float]
    interval: Interval | None
    verdict: Verdict
    why: str = ""

    @property
    def base_median(self) -> float | None:
        return median(self.base) if self.base else None

    @property
    def tried_median(self) -> float | None:
        return median(self.tried) if self.tried else None


class Tuned(Struct, frozen=True, kw_only=True):
    """`changes` that are proven; empty where nothing is faster than what is in force."""

    changes: dict[str, Value]
    duels: list[Duel]


class Ask(Struct, frozen=True):
    """Measure `choice` once. `other` is the other side of the pair: started before, so that no start lies between."""

    choice: dict[str, Value]
    other: dict[str, Value]


Search = Generator[Ask, float, Tuned]
"""Is sent documents/s, or thrown `Failed`."""


def search(knobs: Sequence[Knob], pairs: int) -> Search:
    """`pairs` a duel, at least PAIRS_MIN."""
    start = {knob.name: knob.now for knob in knobs}
    best: dict[str, Value] = dict(start)
    duels: list[Duel] = []
    for knob in knobs:
        for value in knob.values:
            if value != best[knob.name]:
                challenger = {**best, knob.name: value}
                duels.append((yield from _duel(knob.name, said(value), best, challenger, start, pairs)))
                if duels[-1].verdict == "won":
                    best = challenger
    for name, value in reversed(_changes(best, start).items()):
        without = {**best, name: start[name]}
        duels.append((yield from _duel(f"{VERIFY}: {name}", said(value), without, best, start, pairs)))
        if duels[-1].verdict != "won":
            best = without
    return Tuned(changes=_changes(best, start), duels=duels)


def interval(base: Sequence[float], tried: Sequence[float]) -> Interval:
    """Of the geometric mean of tried / base over pairs; needs two, and positive rates."""
    logs = [log(one / other) for one, other in zip(tried, base, strict=True)]
    centre = fmean(logs)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1)) * stdev(logs) / sqrt(len(logs))
    return Interval(exp(centre), exp(centre - half), exp(centre + half))


def _duel(
    knob: str, value: str, best: Choice, challenger: Choice, start: Choice, pairs: int
) -> Generator[Ask, float, Duel]:
    base: list[float] = []
    tried: list[float] = []

    def ended(verdict: Verdict, why: str = "") -> Duel:
        found = interval(base, tried) if len(tried) >= 2 and verdict != "given up" else None  # chosen for what it shows
        return Duel(
            knob=knob, value=value, changes=_changes(challenger, start), base=base, tried=tried, interval=found,
            verdict=verdict, why=why,
        )  # fmt: skip

    for number in range(pairs):
        try:
            if number % 2:
                second = yield Ask(dict(challenger), dict(best))
                first = yield Ask(dict(best), dict(challenger))
            else:
                first = yield Ask(dict(best), dict(challenger))
                second = yield Ask(dict(challenger), dict(best))
        except Failed as error:
            return ended("failed", str(error))
        base.append(first)
        tried.append(second)
        if number + 1 == EARLY < pairs and all(b < (1 - BEHIND) * a for a, b in zip(base, tried, strict=True)):
            return ended("given up", f"slower in each of {EARLY} pairs")
    found = interval(base, tried)
    return ended("won" if found.low > 1 else "slower" if found.high < 1 else "no gain")


def _changes(choice: Choice, start: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in choice.items() if value != start[name]}
