"""Where a stage is full, and for how long: its state, and waiting time by cause. Pure."""

from enum import IntEnum
from typing import Final, Literal

Cause = Literal["documents", "tokens", "bytes", "partition_span", "engine", "broker"]
CAUSES: Final[tuple[Cause, ...]] = ("documents", "tokens", "bytes", "partition_span", "engine", "broker")


class State(IntEnum):
    """`THROTTLED`: over the low mark, or some partition waits. `FULL`: nothing is admitted."""

    FREE = 0
    THROTTLED = 1
    FULL = 2


class Pressure:
    """`turn` says what holds from now on; time without a cause is not counted."""

    def __init__(self, now: float) -> None:
        self.state = State.FREE
        self.cause: Cause | None = None
        self._since = now
        self._seconds: dict[Cause, float] = {}

    def turn(self, state: State, cause: Cause | None, now: float) -> None:
        self.state = state
        if cause != self.cause:
            self._settle(now)
            self.cause = cause

    def take(self, now: float) -> dict[Cause, float]:
        """Seconds by cause since the last call."""
        self._settle(now)
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _settle(self, now: float) -> None:
        if self.cause is not None:
            self._seconds[self.cause] = self._seconds.get(self.cause, 0.0) + now - self._since
        self._since = now
