"""A broker seen through a gate: consumers that stand back while somebody else has more to do."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from mira_stream.records import Record
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.ports import AssignmentListener, Broker, Consumer, always


class StandingBack(ForwardingBroker):
    """Consumers of a topic in `clear` fetch nothing while its event is not set; heartbeats go on. Everything else is
    the broker's own."""

    def __init__(self, broker: Broker, clear: Mapping[str, asyncio.Event]) -> None:
        super().__init__(broker)
        self._clear = clear

    async def consumer(
        self, consumer_group: str, topics: Sequence[str], listener: AssignmentListener, instance: str = ""
    ) -> Consumer:
        consumer = await super().consumer(consumer_group, topics, listener, instance)
        gates = [self._clear[topic] for topic in topics if topic in self._clear]
        return _Patient(consumer, gates[0]) if gates else consumer


class _Patient:
    def __init__(self, consumer: Consumer, clear: asyncio.Event) -> None:
        self._consumer = consumer
        self._clear = clear
        self.committed = consumer.committed
        self.offset_at = consumer.offset_at
        self.seek = consumer.seek
        self.pause = consumer.pause
        self.resume = consumer.resume
        self.close = consumer.close

    async def poll(self, records_max: int, timeout_s: float, more: Callable[[Record], bool] = always) -> list[Record]:
        if not self._clear.is_set():
            try:
                await asyncio.wait_for(self._clear.wait(), timeout_s)
            except TimeoutError:
                return []
        return await self._consumer.poll(records_max, timeout_s, more)
