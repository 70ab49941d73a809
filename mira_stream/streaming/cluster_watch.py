"""What a stage sees of the brokers under it: transactions that do not end, replicas behind, disks that fill."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from mira_stream.clock import Monotonic
from mira_stream.errors import DependencyError
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.held_back import Held, HeldBack
from mira_stream.streaming.ports import Broker

log: Final = structlog.get_logger("mira_stream.runner")

LOOK_S: Final = 30.0
WRITES_S: Final = 5.0


class ClusterMetrics:
    """Series: a topic that a stage reads or writes, a broker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.held_back = Gauge(
            "mira_open_transaction_seconds",
            "How long the topic's last stable offset has stood still below its end: a transaction that does not end",
            ["topic"],
            registry=registry,
        )
        self.behind = Gauge(
            "mira_partitions_under_replicated",
            "Partitions of the topic with fewer replicas in sync than it has",
            ["topic"],
            registry=registry,
        )
        self.disk_free = Gauge(
            "mira_broker_disk_free_ratio", "Free share of the broker's fullest disk", ["broker"], registry=registry
        )
        self.looks = Counter(
            "mira_broker_looks_total",
            "Looks at the brokers; after a failed one what is shown of brokers is still what the last answered one saw",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("answered", "failed"):
            self.looks.labels(outcome)


class ClusterWatch:
    """What is open is looked at whenever it is asked for, brokers every `LOOK_S` seconds at most."""

    def __init__(self, reader: LogReader, broker: Broker, metrics: ClusterMetrics, now: Monotonic) -> None:
        self._reader = reader
        self._broker = broker
        self._metrics = metrics
        self._now = now
        self._looked_s: float | None = None
        self._looked_at_writes_s: float | None = None
        self._read, self._written = HeldBack(), HeldBack()
        self._held_in_writes: Mapping[TopicPartition, Held] = {}
        self._brokers: set[int] = set()
        """Those whose disk is shown."""

    async def held(
        self, topics: Sequence[str], stable: Mapping[TopicPartition, int], writes: Sequence[str] = ()
    ) -> Mapping[TopicPartition, Held]:
        """What open transactions hold back of the stage's own partitions. `stable`: their last stable offsets, as just
        seen. Of the topics that it writes all partitions are looked at, every `WRITES_S`: a transaction that hangs
        there may be of an owner before it. Raises DependencyError."""
        now = self._now()
        found = self._read.look(stable, await self._ends(stable), now)
        if self._looked_at_writes_s is None or now - self._looked_at_writes_s >= WRITES_S:
            of_writes = await self._stable(writes)
            self._held_in_writes = self._written.look(of_writes, await self._ends(of_writes), now)
            self._looked_at_writes_s = now
        longest = dict.fromkeys([*topics, *writes], 0.0)
        for partition, one in (*found.items(), *self._held_in_writes.items()):
            longest[partition.topic] = max(longest.get(partition.topic, 0.0), one.seconds)
        for topic, seconds in longest.items():
            self._metrics.held_back.labels(topic).set(seconds)
        return found

    async def look(self, topics: Sequence[str]) -> None:
        """Replicas of these topics, and disks."""
        now = self._now()
        if self._looked_s is not None and now - self._looked_s < LOOK_S:
            return
        self._looked_s = now
        try:
            state = await self._broker.state(topics)
        except DependencyError as error:  # the stage's own look says what is wrong
            log.info("brokers unknown", error=str(error))
            self._metrics.looks.labels("failed").inc()
            return
        self._metrics.looks.labels("answered").inc()
        for topic, count in state.under_replicated.items():
            self._metrics.behind.labels(topic).set(count)
        for broker in self._brokers - state.disk_free.keys():  # replaced, or silent: an old share is no share
            self._metrics.disk_free.remove(broker)
        for broker, share in state.disk_free.items():
            self._metrics.disk_free.labels(broker).set(share)
        self._brokers = set(state.disk_free)

    async def _ends(self, stable: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return await self._reader.high_watermarks(stable) if stable else {}

    async def _stable(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        partitions = [one for topic in topics for one in await self._reader.partitions(topic)]
        bounds = await self._reader.bounds(partitions) if partitions else {}
        return {partition: end for partition, (_, end) in bounds.items()}
