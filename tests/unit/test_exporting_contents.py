"""Contents are fetched by one forward merge; what cannot be had is said, and no decision is left out."""

from collections.abc import AsyncIterator, Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.errors import DataLossError
from mira_stream.exporting.contents import GAP_RECORDS, content_of, fetch
from mira_stream.messages import CardPosition, Decision, Document, Origin, encode
from mira_stream.records import Record, TopicPartition

TOPIC = "mira.documents.text"


class Log:
    """One partition in memory. `lose`: on each of the next reads, that many more records are deleted first."""

    def __init__(self, offsets: Iterable[int], lose: Iterable[int] = ()) -> None:
        self.records = {
            offset: Record(TOPIC, 0, offset, 0, None, encode(Document(id=str(offset), source="s", text=f"t{offset}")))
            for offset in offsets
        }
        self.first = 0
        self.reads: list[tuple[int, int]] = []
        self._lose = iter(lose)

    async def partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, 0)] if topic == TOPIC else []

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return {partition: (self.first, max(self.records, default=-1) + 1) for partition in partitions}

    async def high_watermarks(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {partition: end for partition, (_, end) in (await self.bounds(partitions)).items()}

    async def read(self, partition: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        self.reads.append((first, end))
        for offset in range(first, end):
            if offset == first + 3:
                self.first += next(self._lose, 0)
            if offset < self.first:
                raise DataLossError("records_deleted", "gone", "none")
            if offset in self.records:
                yield self.records[offset]

    async def close(self) -> None: ...


def decision(offset: int, topic: str = TOPIC) -> Decision:
    return Decision(
        id=str(offset),
        source="s",
        group="text",
        origin=Origin(topic=topic, partition=0, offset=offset, timestamp_ms=0),
        card=CardPosition(partition=0, offset=offset),
        lineage="l",
        mask="m",
        epoch_of="s",
        epoch=0,
        policy=0,
        decision="keep",
        selected=True,
        reason="above",
        quality=1.0,
        dimensions_used=[],
        scores=[None] * 15,
    )


async def fetched(log: Log, wanted: Iterable[Decision]) -> dict[str, str | None]:
    return {d.id: content.text or content.error async for d, content in fetch(log, wanted)}


@given(st.sets(st.integers(0, 60), max_size=30), st.lists(st.integers(0, 60), max_size=20))
async def test_each_decision_comes_back_once(offsets: set[int], wanted: list[int]) -> None:
    found = [(d.id, content.text, content.error) async for d, content in fetch(Log(offsets), map(decision, wanted))]
    assert found == [
        (str(offset), f"t{offset}" if offset in offsets else None, None if offset in offsets else "missing")
        for offset in sorted(wanted)
    ]


async def test_one_read_for_what_lies_close_and_forward_only() -> None:
    far = 10 * GAP_RECORDS
    log = Log([*range(500), *range(far, far + 500)])
    wanted = [*range(0, 500, 7), *range(far, far + 500, 100)]
    found = await fetched(log, [decision(offset) for offset in reversed(wanted)])
    assert found == {str(offset): f"t{offset}" for offset in wanted}
    assert log.reads == [(0, 498), (far, far + 401)]


async def test_retention_overtakes_the_reading() -> None:
    log = Log(range(100), lose=[20, 10])
    found = await fetched(log, [decision(offset) for offset in range(0, 100, 2)])
    assert [found[str(offset)] for offset in (0, 2)] == ["t0", "t2"]
    deleted = [offset for offset in range(0, 100, 2) if found[str(offset)] == "deleted"]
    assert deleted == [*range(4, 20, 2), *range(24, 30, 2)]
    assert all(found[str(offset)] == f"t{offset}" for offset in range(30, 100, 2))


async def test_a_reader_that_loses_without_saying_what_stops_us() -> None:
    class Broken(Log):
        async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
            return dict.fromkeys(partitions, (0, 100))

    with pytest.raises(DataLossError):
        await fetched(Broken(range(100), lose=[50]), [decision(offset) for offset in range(10)])


async def test_a_topic_that_is_gone() -> None:
    assert await fetched(Log([1]), [decision(1), decision(2, "mira.documents.other")]) == {"1": "t1", "2": "deleted"}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b'{"schema":"document.v1","id":"a","source":"s","text":""}', None),
        (b'{"schema":"document.v1","id":"b","source":"s","text":"x"}', "id_differs"),
        (b'{"schema":"document.v1","id":"a","source":"s","messages":null,"text":null}', "not_inline"),
        (b'{"id":"a","text":"\xff"}', "unreadable"),
        (b'{"id":"a","text":"x","meta":{"k":"\xff"}}', "unreadable"),
        (b'{"id":"a"', "unreadable"),
        (b"[" * 10_000, "unreadable"),
        (b"", "unreadable"),
        (None, "unreadable"),
    ],
)
def test_records_that_are_no_content(value: bytes | None, error: str | None) -> None:
    assert content_of(Record(TOPIC, 0, 0, 0, None, value), "a").error == error


def test_meta_stays_as_it_was_written() -> None:
    value = b'{"id":"a","text":"x","meta":{"n": 1.50, "big":123456789012345678901234567890}}'
    assert content_of(Record(TOPIC, 0, 0, 0, None, value), "a").meta == (
        '{"n": 1.50, "big":123456789012345678901234567890}'
    )
