"""Dead letters as they lie in the log: found, filtered, named by their place."""

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from mira_stream.errors import DataLossError, UsageError
from mira_stream.messages import DeadLetter, decoder
from mira_stream.records import LogReader, TopicPartition

_decode: Final = decoder(DeadLetter).decode


class Place(NamedTuple):
    """Where a letter stands in its topic; written `partition@offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"


class Found(NamedTuple):
    """A letter, its place, and when it was written (Unix time in ms)."""

    place: Place
    timestamp_ms: int
    letter: DeadLetter


class Wanted(NamedTuple):
    """Which letters; what is empty wants all. `ids` are those of documents."""

    stages: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    places: frozenset[Place] = frozenset()

    def has(self, found: Found) -> bool:
        letter = found.letter
        return (
            (not self.stages or letter.stage in self.stages)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.sources or letter.source in self.sources)
            and (not (self.ids or self.places) or letter.id in self.ids or found.place in self.places)
        )


def wanted_by_name(names: Sequence[str]) -> tuple[frozenset[Place], frozenset[str]]:
    """Places and ids: `3@17` is a place, everything else an id."""
    places: set[Place] = set()
    ids: set[str] = set()
    for name in names:
        partition, at, offset = name.partition("@")
        if at and partition.isdecimal() and offset.isdecimal():
            places.add(Place(int(partition), int(offset)))
        else:
            ids.add(name)
    return frozenset(places), frozenset(ids)


async def find_letters(reader: LogReader, topic: str, wanted: Wanted, *, heads: bool = False) -> AsyncIterator[Found]:
    """All letters that are wanted, partition by partition, oldest first, with `heads` also the document's first bytes.

    Raises, at the end, UsageError(letter_unknown) for a place or id without a letter; DataLossError(letter_unreadable).
    """
    missing: set[Place | str | None] = {*wanted.places, *wanted.ids}
    for partition in await reader.partitions(topic):
        first, end = (await reader.bounds([partition]))[partition]
        async for record in reader.read(partition, first, end):
            place = Place(partition.partition, record.offset)
            found = Found(place, record.timestamp_ms, _read(record.value, partition, record.offset))
            missing -= {place, found.letter.id}
            if wanted.has(found):
                yield found if heads else found._replace(letter=replace(found.letter, head=""))
    if missing:
        raise UsageError(
            "letter_unknown",
            f"{topic} holds no letter {', '.join(sorted(map(str, missing)))}",
            "take a place or an id from `mira-stream dlq list`; topics keep records for a limited time",
        )


def _read(value: bytes | None, partition: TopicPartition, offset: int) -> DeadLetter:
    try:
        return _decode(value or b"")
    except msgspec.DecodeError as error:
        raise DataLossError(
            "letter_unreadable",
            f"{partition.topic}/{partition.partition}@{offset}: {error}",
            "only mira-stream writes this topic; read it with the version that wrote it",
        ) from None
