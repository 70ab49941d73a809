"""Who fenced a producer that stood still: a real Kafka's own timeout, or another producer. Kafka looks for what is over
its time every 10 s."""

import asyncio
from itertools import count
from typing import Any

import pytest

from mira_stream.errors import ProducerFenced, TransactionExpired
from mira_stream.kafka import KafkaBroker
from mira_stream.kafka.transactions import Transactions
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import TopicSpec

pytestmark = pytest.mark.broker

SETTINGS = BrokerSection(transaction_timeout_ms=1_000, request_timeout_ms=90_000)
POLL_S = 0.2


@pytest.mark.parametrize(
    ("step", "times_out", "replaced", "raised"),
    [
        ("commit_transaction", True, False, TransactionExpired),
        ("send_offsets_to_transaction", True, False, TransactionExpired),
        ("commit_transaction", True, True, ProducerFenced),
        ("commit_transaction", False, True, ProducerFenced),
        ("send_offsets_to_transaction", False, True, ProducerFenced),
    ],
)
async def test_it_is_the_brokers_own_timeout_only_if_nobody_came(
    kafka: str, prefix: str, step: str, times_out: bool, replaced: bool, raised: type[Exception]
) -> None:
    """Again where the machine stood still before the step, and the broker's time was up by then."""
    for number in count():
        case = Case(kafka, f"{prefix}.{number}", times_out, replaced)
        caught = await case.fenced(step)
        if case.reached:
            break
    assert type(caught) is raised


class Case:
    """A producer that stands still before a step of its commit."""

    def __init__(self, kafka: str, prefix: str, times_out: bool, replaced: bool) -> None:
        self._kafka = kafka
        self._patient = KafkaBroker(BrokerSection(), kafka)
        self._topic, self._name = f"{prefix}.documents", f"{prefix}.produce"
        self._times_out, self._replaced = times_out, replaced
        self._successor: Any = None
        self.reached = False

    async def fenced(self, step: str) -> ProducerFenced:
        """What its commit raises; whoever came after it can commit."""
        broker = KafkaBroker(SETTINGS, self._kafka)
        await broker.create_topics([TopicSpec(self._topic, 1)], 1)
        producer: Any = await broker.producer(self._name)
        go_on = getattr(producer._client, step)

        async def stand_still(*arguments: Any) -> None:
            self.reached = True
            await self._meanwhile()
            await go_on(*arguments)

        setattr(producer._client, step, stand_still)
        record = Outgoing(self._topic, None, b"{}", 0)
        try:
            with pytest.raises(ProducerFenced) as caught:
                await producer.commit([record], {TopicPartition(self._topic, 0): 0}, f"{self._topic}.readers")
            if self._successor is not None:
                await self._successor.commit([record], {}, None)
                await self._successor.close()
        finally:
            await producer.close()
            await broker.close()
            await self._patient.close()
        return caught.value

    async def _meanwhile(self) -> None:
        if self._times_out:
            async with Transactions(SETTINGS, self._kafka) as asked:
                while (await asked.look([self._topic])).open:  # noqa: ASYNC110 - a broker calls nobody
                    await asyncio.sleep(POLL_S)
        if self._replaced:
            self._successor = await self._patient.producer(self._name)
        await asyncio.sleep(SETTINGS.transaction_timeout_ms / 1000)  # what it takes for a fence to be doubted
