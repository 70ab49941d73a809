"""Beside the watch's runners: reads what was labelled, looks at all cells again and again, says what has changed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from mira_stream.clock import now_ms
from mira_stream.errors import DependencyError
from mira_stream.reliability.monitor import Event, Monitor, Status
from mira_stream.streaming.watch_metrics import WatchMetrics
from mira_stream.watching.follower import LabelFollower

log: Final = structlog.get_logger("mira_stream.watch")
LOOK_S: Final = 2.0
BEHIND_MS: Final = 60_000
"""A decision is readable later than its timestamp says: its transaction lingers, and clocks differ."""

Tell = Callable[[Status], None]
Lag = Callable[[], Awaitable[int]]
"""How far a source group's watch is behind."""
Oldest = Callable[[], Awaitable[int | None]]
"""The time of the oldest decision a source group's watch has not passed; None if there is none."""


class Looks:
    """All that one process shows of its labels."""

    def __init__(
        self,
        follower: LabelFollower,
        monitor: Monitor,
        counts: WatchMetrics,
        tell: Tell,
        lags: Mapping[str, Lag],
        oldest: Sequence[Oldest],
    ) -> None:
        self.follower = follower
        self._monitor = monitor
        self._counts = counts
        self._tell = tell
        self._lags = lags
        self._oldest = oldest
        self._known: frozenset[Event] | None = None

    async def go_on(self) -> None:
        """Until cancelled. A broker that is away for the moment is waited for: what was labelled stays."""
        while True:
            try:
                at_ms = await self._passed_ms()
                await self.follower.refresh()
                for group, lag in self._lags.items():
                    self._counts.lagging(group, await lag())
            except DependencyError as error:
                log.warning("labels cannot be read now", error=str(error))
            else:
                self.look(at_ms)
            await asyncio.sleep(LOOK_S)

    async def last(self, *, closing_all: bool, span_ms: int) -> Status:
        """The status at the end; with `closing_all` the newest span counts as over."""
        at_ms = await self._passed_ms()
        await self.follower.refresh()
        return self.look(self._monitor.newest_ms + span_ms if closing_all else at_ms)

    async def _passed_ms(self) -> int:
        """All labels of decisions before this time are in the topic: a watch that lags closes no span it is still in.
        Asked before the labels are read."""
        times = [now_ms() - BEHIND_MS, *[await oldest() for oldest in self._oldest]]
        return min(time for time in times if time is not None)

    def look(self, at_ms: int) -> Status:
        status = self._monitor.look(at_ms)
        self._counts.shown(status)
        self._say(status)
        self._known = frozenset(status.events)
        self._tell(status)
        return status

    def _say(self, status: Status) -> None:
        """What is new. A watch that was started again tells what stands, not the whole past."""
        if self._known is None:
            for cell in status.alarms:
                log.warning("alarm stands", source=cell.unit.source, dimension=cell.slot, alarm=cell.alarm)
            return
        for event in status.events:
            if event not in self._known:
                log.warning(
                    "alarm raised" if event.raised else "alarm cleared",
                    source=event.unit.source,
                    dimension=event.slot,
                    alarm=event.alarm,
                    at_ms=event.at_ms,
                )
