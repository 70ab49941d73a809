"""Whether a broker does its work: a transaction with one record is committed and read back."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mira_stream.errors import CommitUnknown, DependencyError, ProducerFenced
from mira_stream.kafka import KafkaBroker
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import TopicSpec

TOPIC: Final = TopicSpec("mira-broker-canary", 1)
LOOK_S: Final = 0.02


def prove(bootstrap_servers: str, timeout_s: float) -> None:
    """Raises DependencyError if the record is not back in time. Blocks; a thread of its own, so that it may also be
    called where an event loop runs."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, _prove(bootstrap_servers, timeout_s)).result()


async def _prove(bootstrap_servers: str, timeout_s: float) -> None:
    settings = BrokerSection(request_timeout_ms=max(1, int(timeout_s * 1000)))
    broker = KafkaBroker(settings, bootstrap_servers)
    try:
        async with asyncio.timeout(timeout_s):
            await _round_trip(broker)
    except (TimeoutError, CommitUnknown):
        raise DependencyError(
            "broker_not_ready",
            f"{bootstrap_servers} took no transaction within {timeout_s:.0f} s",
            "look into the broker's log",
        ) from None
    finally:
        await broker.close()


async def _round_trip(broker: KafkaBroker) -> None:
    await broker.create_topics([TOPIC], replication_factor=1)
    partition = TopicPartition(TOPIC.name, 0)
    reader = await broker.reader()
    try:
        before = (await reader.bounds([partition]))[partition][1]
        while not await _is_committed(broker):  # noqa: ASYNC110 - what is waited for lies in another process
            await asyncio.sleep(LOOK_S)
        while True:
            async for _ in reader.read(partition, before, before + 1):
                return
            await asyncio.sleep(LOOK_S)  # a commit is acknowledged before its marker makes it readable
    finally:
        await reader.close()


async def _is_committed(broker: KafkaBroker) -> bool:
    """False if somebody else asks the same at the same time and was quicker."""
    producer = await broker.producer(TOPIC.name)
    try:
        await producer.commit([Outgoing(TOPIC.name, None, b"ready?", 0)], {}, None)
    except ProducerFenced:
        return False
    finally:
        await producer.close()
    return True
