"""A coordinator that cannot answer yet has not said that nothing was committed."""

from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError, NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchResponse_v3

from mira_stream.kafka.offset_fetch import checked

P0 = TopicPartition("t", 0)
FOUND = OffsetFetchResponse_v3(0, [("t", [(0, 7, "", 0)])], 0)


def refused(error: type[Any]) -> OffsetFetchResponse_v3:
    return OffsetFetchResponse_v3(0, [], error.errno)


class Answers:
    def __init__(self, *answers: OffsetFetchResponse_v3) -> None:
        self._answers: Iterator[OffsetFetchResponse_v3] = iter(answers)

    async def send(self, request: object, *arguments: object) -> OffsetFetchResponse_v3:
        return next(self._answers)


def coordinator(answers: Answers) -> tuple[Any, list[str]]:
    """aiokafka's own, without a broker; and how often it was told that another is the coordinator."""
    moved: list[str] = []
    one: Any = GroupCoordinator.__new__(GroupCoordinator)
    one.group_id, one.coordinator_id, one._retry_backoff_ms = "g", 1, 0
    one._send_req = checked(answers.send, lambda: moved.append("moved"))
    return one, moved


async def test_it_is_asked_again_until_it_has_loaded_the_group() -> None:
    loading = refused(GroupLoadInProgressError)
    asked, moved = coordinator(Answers(loading, loading, FOUND))
    assert (await asked.fetch_committed_offsets([P0]))[P0].offset == 7
    assert not moved


async def test_another_coordinator_is_looked_for() -> None:
    asked, moved = coordinator(Answers(refused(NotCoordinatorForGroupError), FOUND))
    assert (await asked.fetch_committed_offsets([P0]))[P0].offset == 7
    assert moved == ["moved"]


async def test_seen_from_outside_it_is_an_error_that_may_be_tried_again() -> None:
    admin: Any = AIOKafkaAdminClient.__new__(AIOKafkaAdminClient)
    admin._send_request = checked(Answers(refused(GroupLoadInProgressError), FOUND).send)
    with pytest.raises(GroupLoadInProgressError) as raised:
        await admin.list_consumer_group_offsets("g", group_coordinator_id=1, partitions=[P0])
    assert raised.value.retriable
    found = await admin.list_consumer_group_offsets("g", group_coordinator_id=1, partitions=[P0])
    assert found[P0].offset == 7
