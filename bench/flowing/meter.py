"""Counts what a program commits, what it takes for that, and the bytes that come in."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka.conn import AIOKafkaConnection

from bench.flowing.job import Sample, Turn, sample
from mira_stream.benching.observing import ObservedBroker
from mira_stream.records import Outgoing, Record
from mira_stream.streaming.ports import AssignmentListener, Broker, Consumer, always


class Meter:
    """`results`: the topics whose records are results. `enough` is set when `wanted` of them are committed."""

    def __init__(self, wanted: int, results: Sequence[str] = ()) -> None:
        self.enough = asyncio.Event()
        self.bytes_in = 0
        self.bytes_delivered = 0
        self._wanted = wanted
        self._results = frozenset(results)
        self._samples: list[Sample] = [sample(0)]

    @property
    def documents(self) -> int:
        return self._samples[-1].documents

    def begin(self) -> None:
        """Nothing is done yet: it is measured from the last such call on."""
        if not self.documents:
            self._samples = [sample(0)]

    def committed(self, records: Sequence[Outgoing]) -> None:
        """Told of each transaction's records."""
        self.add(sum(record.topic in self._results for record in records))

    def add(self, documents: int) -> None:
        if not documents:
            return
        self._samples.append(sample(self.documents + documents))
        if self.documents >= self._wanted:
            self.enough.set()

    def turn(self) -> Turn:
        return Turn(samples=self._samples, bytes_in=self.bytes_in, bytes_delivered=self.bytes_delivered)

    def count_bytes_in(self) -> None:
        """From now on of all connections of this process: a few bytes of each are no documents."""
        handle: Callable[[Any, bytes], None] = AIOKafkaConnection._handle_frame

        def counted(connection: Any, frame: bytes) -> None:
            self.bytes_in += len(frame)
            handle(connection, frame)

        AIOKafkaConnection._handle_frame = counted


class MeteredBroker(ObservedBroker):
    """A broker whose commits are counted, and whose consumers are measured from the poll on that brings the first
    records: what was read before, and opened, is no document's."""

    def __init__(self, broker: Broker, meter: Meter) -> None:
        super().__init__(broker, meter.committed)
        self._meter = meter

    async def consumer(
        self, consumer_group: str, topics: Sequence[str], listener: AssignmentListener, instance: str = ""
    ) -> Consumer:
        return _Metered(await super().consumer(consumer_group, topics, listener, instance), self._meter)


class _Metered:
    def __init__(self, consumer: Consumer, meter: Meter) -> None:
        self._consumer = consumer
        self._meter: Meter | None = meter
        self.committed, self.offset_at = consumer.committed, consumer.offset_at
        self.seek, self.pause, self.resume, self.close = consumer.seek, consumer.pause, consumer.resume, consumer.close

    async def poll(self, records_max: int, timeout_s: float, more: Callable[[Record], bool] = always) -> list[Record]:
        if self._meter is None:
            return await self._consumer.poll(records_max, timeout_s, more)
        self._meter.begin()
        records = await self._consumer.poll(records_max, timeout_s, more)
        if records:
            self._meter = None
        return records
