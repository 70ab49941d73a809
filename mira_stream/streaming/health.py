"""Whether a service lives, is ready, has started: named checks, each with its age and a way out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Literal, NamedTuple

from mira_stream.clock import Monotonic, monotonic

LOOP_LAG_MAX_S: Final = 5.0
BEAT_S: Final = 0.02
"""By so much at most a block of the loop is longer than the lateness that is measured of it. More often would cost more
than it tells: an idle process spent 8 ms of CPU a second on it, on a busy machine."""
LATE_KEPT_S: Final = 1.0
"""So long a late beat is told: a probe comes behind it."""
METADATA_MAX_S: Final = 30.0
ENGINE_PROGRESS_MAX_S: Final = 60.0

Kind = Literal["live", "ready", "started"]


class Check(NamedTuple):
    """`age_s`: since when it is so, or how old what it goes by is. `cause` and `fix` are empty if it holds."""

    name: str
    ok: bool
    age_s: float | None = None
    cause: str = ""
    fix: str = ""


class Report(NamedTuple):
    checks: list[Check]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


class Health:
    """The service's parts add their checks while they run; probes read them."""

    def __init__(self, now: Monotonic = monotonic) -> None:
        self.loop = LoopLag(now)
        self.draining: Callable[[], bool] = lambda: False
        self._looks: dict[Kind, list[Callable[[], Check]]] = {"live": [], "ready": [], "started": []}

    @contextmanager
    def checked(self, kind: Kind, look: Callable[[], Check]) -> Iterator[None]:
        """`look` counts while the block runs."""
        self._looks[kind].append(look)
        try:
            yield
        finally:
            self._looks[kind].remove(look)

    def live(self) -> Report:
        """Stays true while the service drains: it must not be killed for it."""
        return Report([loop_check(self.loop.lag_s), *(look() for look in self._looks["live"])])

    def ready(self) -> Report:
        return Report([drain_check(self.draining()), *self._started(), *(look() for look in self._looks["ready"])])

    def started(self) -> Report:
        return Report(self._started())

    def _started(self) -> list[Check]:
        return [look() for look in self._looks["started"]] or [
            Check("service", False, None, "it has not begun its work", "wait; its log says what it waits for")
        ]


class LoopLag:
    """How late the event loop comes to what is due. `observe` is told of every beat's lateness, in seconds; `longest_s`
    is that of all beats."""

    def __init__(self, now: Monotonic = monotonic) -> None:
        self.observe: Callable[[float], None] = lambda late_s: None
        self.longest_s = 0.0
        self._now = now
        self._late_s = self._late_at = 0.0
        self._due: float | None = None

    @property
    def lag_s(self) -> float:
        """The worst beat's lateness in the last second, or that of the beat which is overdue now."""
        overdue = 0.0 if self._due is None else self._now() - self._due
        return max(self._late_s, overdue, 0.0)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Measured while the block runs."""
        beat = asyncio.create_task(self.beat())
        try:
            yield
        finally:
            beat.cancel()

    async def beat(self) -> None:
        """Measure for ever."""
        while True:
            self._due = self._now() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self._beaten(self._now(), self._due)

    def _beaten(self, now: float, due: float) -> None:
        late_s = max(0.0, now - due)
        if late_s >= self._late_s or now - self._late_at > LATE_KEPT_S:
            self._late_s, self._late_at = late_s, now
        self.longest_s = max(self.longest_s, late_s)
        self.observe(late_s)


def loop_check(lag_s: float) -> Check:
    if lag_s < LOOP_LAG_MAX_S:
        return Check("event_loop", True, lag_s)
    cause = f"the event loop was blocked for {lag_s:.1f} s (at most {LOOP_LAG_MAX_S:g})"
    return Check("event_loop", False, lag_s, cause, "give the process more CPU; if it stays so, restart it")


def drain_check(draining: bool) -> Check:
    if not draining:
        return Check("draining", True)
    return Check("draining", False, None, "the service was told to stop and drains", "nothing: it ends by itself")


def broker_check(stage: str, age_s: float | None) -> Check:
    """`age_s`: since the broker last answered; None before its first answer."""
    name = f"broker.{stage}"
    if age_s is not None and age_s <= METADATA_MAX_S:
        return Check(name, True, age_s)
    cause = "the broker has not answered yet" if age_s is None else f"no answer of the broker for {age_s:.0f} s"
    return Check(name, False, age_s, cause, "look whether the broker runs and bootstrap_servers is right")


def partitions_check(stage: str, assigned: int | None, open_lanes: int, age_s: float) -> Check:
    """`assigned` None: the consumer group has not answered since a rebalance began, `age_s` seconds ago. A member to
    spare, without partitions, is ready: it takes over at once."""
    name = f"partitions.{stage}"
    if assigned is None:
        return Check(name, False, age_s, "a rebalance is under way", "wait; it ends within the session timeout")
    if open_lanes < assigned:
        cause = f"{open_lanes} of {assigned} partitions are open"
        return Check(name, False, age_s, cause, "wait for states to be restored; the log names what is started over")
    return Check(name, True, age_s)


def engine_check(group: str, up: bool, running: int, age_s: float) -> Check:
    """`age_s`: since the engine last ended a request; that counts only while it has some."""
    name = f"engine.{group}"
    if not up:
        return Check(name, False, age_s, "the engine does not serve", "wait for its start; its log says why it ended")
    if running and age_s > ENGINE_PROGRESS_MAX_S:
        cause = f"{running} requests are with the engine and none has ended for {age_s:.0f} s"
        return Check(name, False, age_s, cause, "look at the engine's log and load; it is started anew when it hangs")
    return Check(name, True, age_s)
