"""Whether a service that runs still answers its probes: one that stands still is ended, and started again. Pure."""

import math
from typing import Final, NamedTuple

from mira_stream.errors import UsageError

EVERY_S: Final = 5.0
"""Between two questions."""
MISSED_MIN: Final = 3
"""One answer may be missed for many reasons."""
START_S: Final = 1800.0
"""Longer than a model takes to load."""


class Beat(NamedTuple):
    """What a service answered: whether it has come up (/startupz), and whether it lives (/livez)."""

    up: bool
    lives: bool


class Pulse:
    """One life of a service. Until it has once said that it is up it may be silent for START_S: a model that loads may
    block it for minutes. `missed_max` 0: it is never ended for that."""

    def __init__(self, missed_max: int) -> None:
        self.missed = 0
        self._missed_max = missed_max
        self._up = False

    def beat(self, beat: Beat) -> bool:
        """Whether it has missed so many in a row that it is to be ended now."""
        self._up = self._up or beat.up
        self.missed = 0 if beat.lives else self.missed + 1
        most = self._missed_max if self._up else max(self._missed_max, missed_max(START_S))
        return self._missed_max > 0 and most <= self.missed


def missed_max(frozen_s: float) -> int:
    """So many questions in a row take that long; counted and not timed, so that a machine that slept kills nobody.

    Raises UsageError(frozen_too_short) for less than MISSED_MIN, but for 0.
    """
    missed = math.ceil(frozen_s / EVERY_S)
    if 0 < missed < MISSED_MIN:
        least = MISSED_MIN * EVERY_S
        raise UsageError(
            "frozen_too_short",
            f"--frozen-s {frozen_s:g} would kill a service for {missed} missed answer(s), one every {EVERY_S:g} s",
            f"give {least:g} or more, or 0 for never",
        )
    return missed
