"""A transaction over a client that refuses or stands still at one of its steps, as when its coordinator has moved."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, NotCoordinatorForGroupError
from aiokafka.producer.transaction_manager import TransactionState

from mira_stream.errors import CommitUnknown, DependencyError, MiraError
from mira_stream.kafka.producer import KafkaProducer
from mira_stream.records import Outgoing, TopicPartition
from tests.virtual import in_virtual_time

RECORDS = [Outgoing("t", None, b"0", 0), Outgoing("t", None, b"1", 1), Outgoing("u", None, b"2", 0)]
OFFSETS = {TopicPartition("in", 0): 7}
STEPS = ("learn_partition", "begin_transaction", "deliver", "send_offsets_to_transaction", "commit_transaction")


class Client:
    """What KafkaProducer asks of aiokafka's. `at`: the step (of deliver: the last one) at which `error` is raised, or
    if there is none everything stands still for ever."""

    def __init__(self, at: str, error: Exception | None = None) -> None:
        self.transaction_state = TransactionState.READY
        self.done: list[str] = []
        self._at = at
        self._error = error

    async def _step(self, name: str) -> None:
        if name == self._at:
            if self._error is not None:
                raise self._error
            await asyncio.Event().wait()
        self.done.append(name)

    async def learn_partition(self, topic: str, partition: int) -> None:
        await self._step("learn_partition")

    async def begin_transaction(self) -> None:
        await self._step("begin_transaction")
        self.transaction_state = TransactionState.IN_TRANSACTION

    async def deliver(self, topic: str, partition: int, records: Sequence[Outgoing], batch_bytes: int) -> None:
        await self._step("deliver" if topic == "u" else "delivered")

    async def send_offsets_to_transaction(self, offsets: Any, group: str) -> None:
        await self._step("send_offsets_to_transaction")

    async def commit_transaction(self) -> None:
        await self._step("commit_transaction")

    async def abort_transaction(self) -> None:
        await self._step("abort_transaction")

    def require(self, state: TransactionState) -> None:
        assert self.transaction_state is state

    def cause(self) -> BaseException | None:
        return None


async def partitions(topic: str, at_least: int) -> int:
    return 2


async def committing(client: Client) -> tuple[type[BaseException], KafkaProducer]:
    """What a transaction over it ends with."""
    producer = KafkaProducer(client, "id", 5.0, partitions, {}, 20.0)  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        with pytest.raises((MiraError, CommitUnknown)) as raised:
            await producer.commit(RECORDS, OFFSETS, "g")
    return raised.type, producer


async def test_a_transaction_goes_through_its_steps_in_order() -> None:
    client = Client("nowhere")
    await KafkaProducer(client, "id", 20.0, partitions, {}, 20.0).commit(RECORDS, OFFSETS, "g")  # type: ignore[arg-type]
    assert list(dict.fromkeys(client.done)) == [
        "learn_partition", "begin_transaction", "delivered", "deliver", "send_offsets_to_transaction",
        "commit_transaction",
    ]  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
@in_virtual_time
async def test_no_step_is_waited_for_for_ever(step: str) -> None:
    client = Client(step)
    raised, producer = await committing(client)
    assert raised is (CommitUnknown if step == "commit_transaction" else DependencyError)
    assert "commit_transaction" not in client.done
    if step != "learn_partition":  # before it nothing has begun
        with pytest.raises(RuntimeError, match="thrown away"):
            await producer.commit([], OFFSETS, "g")


@pytest.mark.parametrize("step", STEPS[1:4])
@in_virtual_time
async def test_a_refusal_before_the_end_is_never_committed(step: str) -> None:
    client = Client(step, MessageSizeTooLargeError("no") if step == "deliver" else KafkaError("no"))
    _, producer = await committing(client)
    assert "commit_transaction" not in client.done
    assert client.done.count("abort_transaction") == (step != "begin_transaction")
    with pytest.raises(RuntimeError, match="thrown away"):
        await producer.commit([], OFFSETS, "g")


@in_virtual_time
async def test_any_error_at_the_end_leaves_it_unknown() -> None:
    client = Client("commit_transaction", NotCoordinatorForGroupError("moved"))
    raised, _ = await committing(client)
    assert raised is CommitUnknown
    assert "abort_transaction" not in client.done
