"""How far the readers of topics are behind by what their consumer groups have committed: seen from outside, so that it
is known while none of them lives."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, NoReturn

import structlog
from prometheus_client import CollectorRegistry, Gauge

from mira_stream.cancellation import only_ours
from mira_stream.clock import Monotonic, monotonic
from mira_stream.config import Project
from mira_stream.errors import DataLossError
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.held_back import HeldBack
from mira_stream.streaming.lag import Retentions, headroom
from mira_stream.streaming.limits import unknown_topic
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.positions import first_ms

log: Final = structlog.get_logger("mira_stream.lag")

EVERY_S: Final = 15.0


class Readers(NamedTuple):
    """Who reads a topic. `expected`: partitions that the group has never committed count from their first record on;
    else they are not looked at."""

    topic: str
    consumer_group: str
    expected: bool


class Left(NamedTuple):
    """Of a topic: offsets not committed (transaction markers included), the age in seconds of the oldest such record (0
    if there is none), and the share of the retention left to it (None: kept for ever, or unknown)."""

    records: int
    seconds: float
    headroom: float | None


class CommittedLagMetrics:
    """A topic of which nothing is known now has no series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, help_: str) -> Gauge:
            return Gauge(name, help_, ["topic"], registry=registry)

        self._gauges: Final = (
            gauge(
                "mira_committed_lag_records",
                "Offsets that the topic's readers have not committed, markers of transactions, too; 0: only these",
            ),
            gauge(
                "mira_committed_lag_seconds",
                "Age of the oldest record that the topic's readers have not committed;"
                " behind an open transaction since it was seen",
            ),
            gauge(
                "mira_committed_headroom_ratio",
                "Share of the topic's retention that the oldest record not committed has left",
            ),
        )  # fmt: skip

    def show(self, topic: str, left: Left | None) -> None:
        for gauge, value in zip(self._gauges, (None, None, None) if left is None else left, strict=True):
            if value is None:
                gauge.remove(topic)
            else:
                gauge.labels(topic).set(value)


def readers_of(project: Project) -> list[Readers]:
    """The readers of what retention deletes. Of a shadow none: it is meant to stand back.

    A scorer is expected, wherever [topics] start lets it begin: until one has come, and committed that, all documents
    count, or nobody would call for it. A stream may have no exporter.
    """
    if project.shadow:
        return []
    scorers = [
        Readers(project.documents_topic(group), project.consumer_group(f"scorer.{group}"), True)
        for group in sorted(project.settings.groups)
    ]
    return [*scorers, Readers(project.topic("decisions"), project.consumer_group("exporter"), False)]


class CommittedLag:
    """`now_ms`: the wall clock, for the ages of records."""

    def __init__(
        self,
        broker: Broker,
        readers: Sequence[Readers],
        metrics: CommittedLagMetrics,
        now_ms: Callable[[], int],
        now: Monotonic = monotonic,
    ) -> None:
        self._broker = broker
        self._readers = readers
        self._metrics = metrics
        self._now_ms = now_ms
        self._now = now
        self._retentions = Retentions(broker, now)
        self._held_back: dict[Readers, HeldBack] = {}
        self._seen: dict[TopicPartition, tuple[int, int]] = {}
        """(position, time of the record there)"""
        self._unknown: set[str] = set()

    async def go_on(self) -> NoReturn:
        """Look for ever. A topic that cannot be looked at is said once, and has no series until it can."""
        if not self._readers:
            await asyncio.Event().wait()
        reader: LogReader | None = None
        try:
            while True:
                for one in self._readers:
                    try:
                        with only_ours(f"measuring the lag of {one.topic}"):
                            reader = reader or await self._broker.reader()
                            self._told(one, await self.measure(reader, one), None)
                    except Exception as error:  # an end of the looks would be seen by nobody
                        self._told(one, None, error)
                await asyncio.sleep(EVERY_S)
        finally:
            if reader is not None:
                await reader.close()

    async def measure(self, reader: LogReader, one: Readers) -> Left | None:
        """None where no partition counts. Raises DependencyError."""
        partitions = await reader.partitions(one.topic)
        if not partitions:
            raise unknown_topic(one.topic)
        committed = await self._broker.committed(one.consumer_group, partitions)
        retention_ms = await self._retentions.of(one.topic)
        bounds = await reader.bounds(partitions)
        stable = {partition: end for partition, (_, end) in bounds.items()}
        ends = await reader.high_watermarks(partitions)
        held = self._held_back.setdefault(one, HeldBack()).look(stable, ends, self._now())
        found: list[Left] = []
        for partition, (first, end) in bounds.items():
            position = committed.get(partition, first if one.expected else None)
            if position is not None:
                stamp_ms = await self._oldest_ms(reader, partition, max(first, position), end)
                age_s = 0.0 if stamp_ms is None else max(0.0, (self._now_ms() - stamp_ms) / 1000)
                waiting = 0 if stamp_ms is None else end - max(first, position)
                if (open_ := held.get(partition)) is not None:
                    waiting, age_s = max(0, open_.end - max(first, position)), max(age_s, open_.seconds)
                left = headroom(age_s, retention_ms)
                was_deleted = left is not None and position < first
                found.append(Left(waiting, age_s, 0.0 if was_deleted else left))
        return _worst(found) if found else None

    async def _oldest_ms(self, reader: LogReader, partition: TopicPartition, position: int, end: int) -> int | None:
        """The time of the oldest record from there on; None if there is none, or only markers of transactions."""
        if position >= end:
            return None
        seen = self._seen.get(partition)
        if seen is not None and seen[0] == position:
            return seen[1]
        try:
            stamp_ms = await first_ms(reader, partition, position, end)
        except DataLossError:  # deleted meanwhile: the next look sees it
            return None
        if stamp_ms is not None:
            self._seen[partition] = position, stamp_ms
        return stamp_ms

    def _told(self, one: Readers, left: Left | None, error: Exception | None) -> None:
        self._metrics.show(one.topic, left)
        if error is None:
            self._unknown.discard(one.topic)
        elif one.topic not in self._unknown:
            self._unknown.add(one.topic)
            log.warning(
                "lag unknown", topic=one.topic, consumer_group=one.consumer_group, error=str(error) or repr(error)
            )


def _worst(found: Sequence[Left]) -> Left:
    left = [one.headroom for one in found if one.headroom is not None]
    return Left(
        sum(one.records for one in found), max(one.seconds for one in found), min(left) if left else None
    )  # fmt: skip
