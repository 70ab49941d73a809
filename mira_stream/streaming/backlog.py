"""How far the scorer is behind the documents: what a producer may stop at."""

import asyncio
from collections.abc import Mapping
from typing import Final, NoReturn

import structlog

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import DependencyError, MiraError
from mira_stream.records import LogReader
from mira_stream.streaming.health import Check
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.ports import Broker

EVERY_S: Final = 1.0
KNOWN_FOR_S: Final = 30.0
"""So long a measured lag counts while no newer one can be had."""
FIX: Final = "see what the service's log says under lag_unknown; the producer needs Describe on the scorers' groups"
log = structlog.get_logger()


class Backlog:
    """`topics`: documents' topic -> consumer group of its scorer. A topic is full while more than `lag_max` offsets of
    it are not scored: its documents, and a marker for each transaction. With `lag_max` 0 none ever is.

    A lag that was never measured, or not for KNOWN_FOR_S, is unknown: nobody may produce then."""

    def __init__(
        self,
        broker: Broker,
        topics: Mapping[str, str],
        lag_max: int,
        metrics: IngestMetrics,
        now: Monotonic = monotonic,
    ) -> None:
        self.lags: dict[str, int] = {}
        self.lag_max = lag_max
        self._broker = broker
        self._topics = topics
        self._metrics = metrics
        self._now = now
        self._looked_at = now()
        self._error: MiraError | None = None
        metrics.backlog_limit.set(lag_max)
        if lag_max:
            metrics.backlog_age.set_function(self.age_s)

    def age_s(self) -> float:
        """Since all lags were measured; since the start if they never were."""
        return self._now() - self._looked_at

    def full(self, topic: str) -> bool:
        return bool(self.lag_max) and self.lags.get(topic, 0) > self.lag_max

    def unknown(self) -> DependencyError | None:
        """Why nobody can say whether a topic is full."""
        if not self.lag_max or (len(self.lags) == len(self._topics) and self.age_s() <= KNOWN_FOR_S):
            return None
        said = self._error.cause if self._error else "it has not been measured yet"
        return DependencyError("backlog_unknown", f"how far the scorer is behind is not known: {said}", FIX)

    def ready(self) -> Check:
        error, age_s = self.unknown(), self.age_s() if self.lag_max else None
        return (
            Check("backlog", True, age_s) if error is None else Check("backlog", False, age_s, error.cause, error.fix)
        )

    async def run(self) -> NoReturn:
        """Look for ever. What is no error of the broker's is raised, and must end the service."""
        if not self.lag_max:
            await asyncio.Event().wait()
        reader: LogReader | None = None
        try:
            while True:
                try:
                    reader = reader or await self._broker.reader()
                    await self.look(reader)
                except MiraError as error:
                    self._error = error
                    log.warning("lag_unknown", code=error.code, cause=error.cause, fix=error.fix)
                await asyncio.sleep(EVERY_S)
        finally:
            if reader is not None:
                await reader.close()

    async def look(self, reader: LogReader) -> None:
        """One look at ends and committed offsets. A group that never committed has everything before it."""
        for topic, group in self._topics.items():
            bounds = await reader.bounds(await reader.partitions(topic))
            ends = await reader.high_watermarks(bounds)  # behind an open transaction documents wait, too
            committed = await self._broker.committed(group, list(bounds))
            self.lags[topic] = sum(
                max(end, ends[partition]) - max(first, committed.get(partition, first))
                for partition, (first, end) in bounds.items()
            )
            self._metrics.backlog.labels(topic).set(self.lags[topic])
        self._looked_at, self._error = self._now(), None
