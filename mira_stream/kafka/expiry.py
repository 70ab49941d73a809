"""Who fenced a producer: another one of its transactional id, or the broker, which ends a transaction that is over its
time and fences by that whoever began it."""

import asyncio
from typing import Any, Final, NamedTuple

import aiokafka.errors as foreign
from aiokafka.client import AIOKafkaClient, CoordinationType

from mira_stream.errors import MiraError
from mira_stream.kafka.failures import bounded
from mira_stream.kafka.transaction_requests import DescribeTransactions
from mira_stream.kafka.transactions import UNDER_WAY

AGAIN_S: Final = 1.0
"""Another producer's initialisation that finds a transaction open ends it first, and looks the same until it goes on: a
tenth of this with aiokafka and Kafka's own client."""


class Owner(NamedTuple):
    """A producer as its coordinator counts it."""

    producer_id: int
    epoch: int


async def ended_by_broker(client: AIOKafkaClient, transactional_id: str, owner: Owner, timeout_s: float) -> bool:
    """Whether the broker's own timeout ended the owner's transaction, and nobody came after it.

    That raises the epoch by one and leaves the transaction aborted. Another producer leaves the id initialised or at
    work, or, where it had a transaction to end, two epochs on. False, too, where it is not told (before Kafka 3.0, no
    Describe on the id, no answer).
    """

    async def look() -> tuple[Owner, str]:
        node = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
        answer: Any = await client.send(node, DescribeTransactions(transactional_id))
        ((code, _, state, _, _, producer_id, epoch, _, _),) = answer.transaction_states
        if (error := foreign.for_code(code)) is not foreign.NoError:
            raise error
        if state in UNDER_WAY - {"Ongoing"}:
            raise foreign.CoordinatorLoadInProgressError(f"{transactional_id}: {state}")  # retriable
        return Owner(producer_id, epoch), state

    timed_out = Owner(owner.producer_id, owner.epoch + 1), "CompleteAbort"
    try:
        if await bounded(f"asking who fenced {transactional_id}", timeout_s, look) != timed_out:
            return False
        await asyncio.sleep(AGAIN_S)
        return await bounded(f"asking who fenced {transactional_id}", timeout_s, look) == timed_out
    except (MiraError, NotImplementedError):
        return False
