"""Who fenced a producer that stood still: a real Kafka's own timeout, or another producer. Kafka looks for what is over
its time every 10 s."""

import asyncio
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
    topic, name = f"{prefix}.documents", f"{prefix}.produce"
    broker = KafkaBroker(SETTINGS, kafka)
    await broker.create_topics([TopicSpec(topic, 1)], 1)
    producer: Any = await broker.producer(name)
    successor: Any = None
    go_on = getattr(producer._client, step)

    async def stand_still(*arguments: Any) -> None:
        nonlocal successor
        if times_out:
            async with Transactions(SETTINGS, kafka) as asked:
                while (await asked.look([topic])).open:  # noqa: ASYNC110 - a broker calls nobody
                    await asyncio.sleep(POLL_S)
        if replaced:
            successor = await broker.producer(name)
        await asyncio.sleep(SETTINGS.transaction_timeout_ms / 1000)  # what it takes for a fence to be doubted
        await go_on(*arguments)

    setattr(producer._client, step, stand_still)
    record = Outgoing(topic, None, b"{}", 0)
    try:
        with pytest.raises(ProducerFenced) as caught:
            await producer.commit([record], {TopicPartition(topic, 0): 0}, f"{prefix}.readers")
        assert caught.type is raised
        if successor is not None:
            await successor.commit([record], {}, None)
            await successor.close()
    finally:
        await producer.close()
        await broker.close()
