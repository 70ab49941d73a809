"""What a rebalance does with the partitions of a stage: a consumer group's listener. Why work outlives it stands in
owner.py."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from mira_stream.clock import Monotonic
from mira_stream.records import TopicPartition
from mira_stream.streaming.lane import Lane
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.owner import name_of
from mira_stream.streaming.owner_tasks import OwnerTasks

log: Final = structlog.get_logger("mira_stream.runner")

FLUSH_S: Final = 1.0
"""So long a rebalance waits for results that are there to be committed; the whole group waits with it."""


class Assignment:
    """Implements ports.AssignmentListener: both calls are awaited before the consumer group goes on.

    `lanes` is the poll loop's, and lives; `wake` makes that loop look at it.
    """

    def __init__(
        self,
        stage: str,
        owners: OwnerTasks,
        lanes: Mapping[TopicPartition, Lane],
        metrics: Metrics,
        wake: Callable[[], None],
        now: Monotonic,
    ) -> None:
        self._stage = stage
        self._owners = owners
        self._lanes = lanes
        self._metrics = metrics
        self._wake = wake
        self._now = now
        self._came = asyncio.Event()
        self._left = asyncio.Event()
        self._rebalancing = True
        self._changed_s = now()
        self.partitions: frozenset[TopicPartition] = frozenset()

    @property
    def dealt(self) -> int | None:
        """How many partitions are ours; None while that is not known."""
        return None if self._rebalancing else len(self.partitions)

    @property
    def age_s(self) -> float:
        """Since the stage began, or partitions were last taken away or dealt out."""
        return self._now() - self._changed_s

    async def until_assigned(self, partition: TopicPartition) -> None:
        while partition not in self.partitions:
            self._came.clear()
            await self._came.wait()

    def something_left(self) -> None:
        """A transaction was committed, or a lane closed: a rebalance may have nothing more to wait for."""
        self._left.set()

    async def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Admit nothing more. What is in work goes on, and is committed: most partitions come back at once. What has
        settled is waited for, shortly: it is lost where the partition does not come back."""
        self.partitions -= frozenset(partitions)
        self._rebalancing, self._changed_s = True, self._now()
        for lane in self._lanes.values():
            if lane.partition in partitions:
                lane.reading, lane.revoked = False, True
                lane.changed.set()
        try:
            async with asyncio.timeout(FLUSH_S):
                while any(lane.is_flushing for lane in self._lanes.values()):
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            log.info("given up with results not committed", stage=self._stage)

    async def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Go on with what came back, end what did not, begin what is new. Waits for nothing: heartbeats would."""
        gone = [partition for partition in self._owners if partition not in partitions]
        self._owners.end_soon(gone)
        for partition in partitions:
            lane = self._lanes.get(partition)
            if partition not in self._owners:
                self._owners.begin(partition)
            elif lane is not None and lane.error is None:
                lane.reading, lane.paused, lane.revoked = False, False, False
                lane.doubts += 1
                lane.changed.set()
        self.partitions = frozenset(partitions)
        self._rebalancing, self._changed_s = False, self._now()
        self._came.set()
        self._wake()
        self._metrics.returned.labels(self._stage, "dropped").inc(len(gone))
        log.info(
            "assigned",
            stage=self._stage,
            partitions=[name_of(p) for p in partitions],
            given_away=[name_of(p) for p in gone],
        )
