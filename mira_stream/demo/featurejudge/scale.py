"""From a measured number to a score of 1..10: nine cut points, nothing else."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Final, NamedTuple

LOWEST: Final = 1
HIGHEST: Final = 10


class Feature(NamedTuple):
    """One dimension of the feature judge.

    `names`: what the judge calls it, its usual word first. `measure` reads the rendered, cut view and nothing else;
    `cuts` are nine ascending numbers in its unit.
    `low` and `high` say in a few words what a low and a high *score* mean.
    """

    names: tuple[str, ...]
    measure: Callable[[str], float]
    cuts: tuple[float, ...]
    rising: bool
    low: str
    high: str

    def score(self, view: str) -> int:
        """1 + the number of cuts below the measured value; mirrored (10..1) if less is better."""
        below = bisect_left(self.cuts, self.measure(view))
        return LOWEST + below if self.rising else HIGHEST - below

    def justification(self, score: int) -> str:
        """The words for a score."""
        if score <= 3:
            return self.low
        return self.high if score >= 8 else f"between: {self.low} / {self.high}"
