"""What is looked at beside a stage while it runs: its topics, its lag, where it is full, whether it stands still."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from mira_stream.cancellation import only_ours
from mira_stream.clock import Monotonic
from mira_stream.errors import DependencyError
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.cluster_watch import ClusterWatch
from mira_stream.streaming.lag import LagMeter
from mira_stream.streaming.lane import Lane
from mira_stream.streaming.limits import made_anew, results_made_anew, unknown_topic
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.pressure import Pressure, State
from mira_stream.streaming.progress import is_another
from mira_stream.streaming.settings import RunnerSettings
from mira_stream.streaming.stalls import WHY, Facts, Found, Stalls

log: Final = structlog.get_logger("mira_stream.runner")

LAG_S: Final = 2.0
NAMED_MAX: Final = 10
"""So many partitions a line of the log names."""
MISSING_LOOKS: Final = 10
"""A consumer says nothing when its topic is deleted: so many looks in a row, and the stage stops."""


class Watched(Protocol):
    """The runner, as far as it is looked at."""

    pressure: Pressure
    done: int
    """Records committed."""

    @property
    def moves(self) -> Mapping[TopicPartition, int]:
        """Transactions that brought a partition on."""
        ...

    @property
    def lanes(self) -> Collection[Lane]: ...

    @property
    def assigned(self) -> frozenset[TopicPartition]: ...


class StageWatch:
    """`now_ms`: the wall clock, for ages by the time of records."""

    def __init__(
        self,
        stage: Watched,
        settings: RunnerSettings,
        reader: LogReader,
        broker: Broker,
        metrics: Metrics,
        now: Monotonic,
        now_ms: Callable[[], int],
    ) -> None:
        self._stage = stage
        self._settings = settings
        self._reader = reader
        self._broker = broker
        self._metrics = metrics
        self._now = now
        self._now_ms = now_ms
        self._meter = LagMeter(reader, broker, now)
        self._cluster = ClusterWatch(reader, broker, metrics.cluster, now)
        self._stalls = Stalls(now())
        self._found = Found(frozenset(), frozenset())
        self._heard_s: float | None = None

    @property
    def silence_s(self) -> float | None:
        """Since the broker last answered; None before it ever did."""
        return None if self._heard_s is None else self._now() - self._heard_s

    async def go_on(self) -> None:
        """Look for ever. Raises DependencyError(topic_missing) when a topic stays away."""
        missing = 0
        while True:
            try:
                with only_ours("looking at the lag"):
                    await self._measure()
                missing = 0
            except DependencyError as error:
                log.warning("lag unknown", stage=self._settings.stage, error=str(error))
                missing += error.code == "topic_missing"
                if missing > MISSING_LOOKS:
                    raise
            self._tell()
            await asyncio.sleep(LAG_S)

    async def _measure(self) -> None:
        lanes = list(self._stage.lanes)
        for topic in self._settings.topics:
            if not await self._reader.partitions(topic):  # a deleted one leaves no partition to ask for
                raise unknown_topic(topic)
        await self._compare_ids(lanes)
        bounds = await self._reader.bounds([lane.partition for lane in lanes])
        self._heard_s = self._now()
        for lane in lanes:
            lane.bounds = bounds[lane.partition]
        self._meter.forget({lane.partition for lane in lanes})
        topics, writes = self._settings.topics, self._settings.writes
        held = await self._cluster.held(topics, {partition: end for partition, (_, end) in bounds.items()}, writes)
        found = [await self._meter.measure(lane, self._now_ms(), held.get(lane.partition)) for lane in lanes]
        self._metrics.stages.behind(self._settings.stage, found)
        await self._cluster.look([*topics, *writes])

    async def _compare_ids(self, lanes: Sequence[Lane]) -> None:
        """A consumer reads on at its old position in a topic that was made anew, and a producer writes on into one:
        their owners find out where to begin."""
        if not lanes:
            return
        results = self._settings.results
        topics = {lane.partition.topic for lane in lanes}
        ids = await self._broker.topic_ids([*topics, results] if results else [*topics])
        for lane in lanes:
            if is_another(lane.topic_id, ids[lane.partition.topic]):
                lane.fail(made_anew(lane.partition, lane.next_offset, self._settings.stage))
            elif results and is_another(lane.results_id, ids[results]):
                lane.fail(results_made_anew(lane.partition, results, lane.next_offset))

    def press(self) -> None:
        """Say how full the stage is, and for how long it has been since it was last said."""
        pressure = self._stage.pressure
        self._metrics.stages.press(self._settings.stage, pressure.state, pressure.take(self._now()))

    def _tell(self) -> None:
        stage, now = self._stage, self._now()
        self.press()
        if not self._settings.patient:
            found = self._stalls.look(len(stage.assigned), self._facts(), stage.done, now)
            self._say(self._found, found)
            self._found = found
        self._metrics.stages.stall(self._settings.stage, self._found)

    def _facts(self) -> dict[TopicPartition, Facts]:
        """Of all partitions that are assigned, or that a rebalance has not yet taken."""
        stage = self._stage
        lanes = {lane.partition: lane for lane in stage.lanes}
        is_full = stage.pressure.state is State.FULL
        found: dict[TopicPartition, Facts] = {}
        for partition in stage.assigned | lanes.keys():
            lane = lanes.get(partition)
            if lane is None:
                waits, in_flight = True, 0  # to be opened
            else:
                in_flight = lane.unfinished
                # Where nothing is admitted, what is unread waits for room, which is no fault of its partition.
                unread = partition in stage.assigned and lane.position < lane.bounds[1] and not is_full
                waits = in_flight > 0 or unread
            found[partition] = Facts(waits, in_flight, stage.moves.get(partition, 0))
        return found

    def _say(self, before: Found, found: Found) -> None:
        stage = self._settings.stage
        if "unassigned" in found.causes - before.causes:
            log.warning("stalled", stage=stage, cause="unassigned", why=WHY["unassigned"])
        if "unassigned" in before.causes - found.causes:
            log.info("goes on", stage=stage, cause="unassigned")
        if new := found.stuck - before.stuck:
            log.warning("stalled", stage=stage, cause="no_progress", why=WHY["no_progress"], partitions=_names(new))
        if over := before.stuck - found.stuck:
            log.info("goes on", stage=stage, cause="no_progress", partitions=_names(over))


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    """The first of them, and how many more there are."""
    names = [f"{topic}/{number}" for topic, number in sorted(partitions)]
    more = len(names) - NAMED_MAX
    return [*names[:NAMED_MAX], f"and {more} more"] if more > 0 else names
