"""Times a stage from inside: from the first document begun to the commit of the last outcome."""

import asyncio
import time
from collections.abc import Sequence

from bench.busy.processes import Reading, here
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.streaming.health import LoopLag
from mira_stream.streaming.ports import Handler


class Stopwatch:
    """Wraps handlers and is told of transactions. Sets `stop` when the last of `documents` outcomes is committed. In
    between the event loop is looked at every 20 ms: `block_s`, how late it came at the most."""

    def __init__(self, factory: ScoringFactory, documents: int, stop: asyncio.Event, cpu: Reading = here) -> None:
        self._factory, self._left, self._stop, self._cpu = factory, documents, stop, cpu
        self._outcomes = {factory.project.topic(name) for name in ("scores", "dead-letters")}
        self.first = self.last = self.block_s = 0.0
        self._cpu_before = self.cpu = cpu()
        self._lag = LoopLag()
        self._beat: asyncio.Task[None] | None = None

    def __call__(self, partition: TopicPartition, reader: LogReader) -> Handler:
        return _Timed(self._factory(partition, reader), self)

    def handled(self) -> None:
        if not self.first:
            self.first, self._cpu_before = time.perf_counter(), self._cpu()
            self._beat = asyncio.create_task(self._lag.beat())

    def committed(self, records: Sequence[Outgoing]) -> None:
        self._left -= sum(record.topic in self._outcomes for record in records)
        assert self._left >= 0, "more outcomes than documents"
        if self._left == 0:
            self.last, self.cpu = time.perf_counter(), self._cpu().since(self._cpu_before)
            self.block_s = max(self._lag.longest_s, self._lag.lag_s)
            if self._beat is not None:
                self._beat.cancel()
            self._stop.set()

    @property
    def seconds(self) -> float:
        return self.last - self.first


class _Timed:
    def __init__(self, inner: Handler, watch: Stopwatch) -> None:
        self._inner, self._watch = inner, watch
        self.open, self.seal, self.committed, self.close = inner.open, inner.seal, inner.committed, inner.close

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        self._watch.handled()
        return await self._inner.handle(record)
