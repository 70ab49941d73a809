"""How far the scorer is behind the documents: what a producer may stop at."""

import asyncio
from collections.abc import Mapping

import structlog

from mira_stream.errors import MiraError
from mira_stream.records import LogReader
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.ports import Broker

log = structlog.get_logger()


class Backlog:
    """`topics`: documents' topic -> consumer group of its scorer. A topic is full while more than `lag_max` offsets of
    it are not scored; with `lag_max` 0 none ever is. While the broker does not answer, what was last known counts."""

    def __init__(
        self,
        broker: Broker,
        topics: Mapping[str, str],
        lag_max: int,
        metrics: IngestMetrics,
        every_s: float = 1.0,
    ) -> None:
        self.lags: dict[str, int] = {}
        self.lag_max = lag_max
        self._broker = broker
        self._topics = topics
        self._every_s = every_s
        self._metrics = metrics
        metrics.backlog_limit.set(lag_max)

    def full(self, topic: str) -> bool:
        return bool(self.lag_max) and self.lags.get(topic, 0) > self.lag_max

    async def run(self) -> None:
        """Look for ever; returns at once without a limit."""
        if not self.lag_max:
            return
        reader: LogReader | None = None
        try:
            while True:
                try:
                    reader = reader or await self._broker.reader()
                    await self.look(reader)
                except MiraError as error:
                    log.warning("lag_unknown", code=error.code, cause=error.cause)
                await asyncio.sleep(self._every_s)
        finally:
            if reader is not None:
                await reader.close()

    async def look(self, reader: LogReader) -> None:
        """One look at ends and committed offsets. A group that never committed has everything before it."""
        for topic, group in self._topics.items():
            bounds = await reader.bounds(await reader.partitions(topic))
            committed = await self._broker.committed(group, list(bounds))
            self.lags[topic] = sum(
                end - max(first, committed.get(partition, first)) for partition, (first, end) in bounds.items()
            )
            self._metrics.backlog.labels(topic).set(self.lags[topic])
