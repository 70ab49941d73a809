"""Fetches the content of documents by their origin: forward through the log, never a seek a document."""

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from mira_stream.errors import DataLossError
from mira_stream.messages import Decision
from mira_stream.records import LogReader, Record, TopicPartition

GAP_RECORDS: Final = 1_000
"""Documents that nobody asked for are read through up to this many in a row; a longer gap is skipped."""


class Content(NamedTuple):
    """What kept/ shows of a document; messages, parts and meta as JSON text. With `error` the rest is None:
    `deleted` (no longer in the log), `missing` (never was), `unreadable`, `id_differs`, `not_inline`."""

    text: str | None = None
    messages: str | None = None
    parts: str | None = None
    meta: str | None = None
    error: str | None = None

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        return sum(len(part) for part in (self.text, self.messages, self.parts, self.meta) if part is not None)


class _Stored(Struct):
    """A Document whose JSON parts stay as they were written."""

    id: str
    text: str | None = None
    messages: Raw = Raw(b"null")
    parts: Raw = Raw(b"null")
    meta: Raw = Raw(b"{}")


_decode: Final = msgspec.json.Decoder(_Stored).decode


async def fetch(reader: LogReader, decisions: Iterable[Decision]) -> AsyncIterator[tuple[Decision, Content]]:
    """Each decision with its document's content, by topic, partition and offset. No decision is left out."""
    ordered = sorted(decisions, key=_place)
    for (topic, number), group in groupby(ordered, key=lambda decision: _place(decision)[:2]):
        partition = TopicPartition(topic, number)
        if partition not in await reader.partitions(topic):
            for decision in group:
                yield decision, Content(error="deleted")
            continue
        async for found in _fetch_partition(reader, partition, list(group)):
            yield found


async def _fetch_partition(
    reader: LogReader, partition: TopicPartition, decisions: Sequence[Decision]
) -> AsyncIterator[tuple[Decision, Content]]:
    """Retention may delete while we read: then the reader raises, and we go on behind what was deleted."""
    done = 0
    retained = -1
    while done < len(decisions):
        first = (await reader.bounds([partition]))[partition][0]
        while done < len(decisions) and decisions[done].origin.offset < first:
            yield decisions[done], Content(error="deleted")
            done += 1
        run = _run(decisions, done)
        try:
            async for found in _fetch_run(reader, partition, decisions[done:run]):
                yield found
                done += 1
        except DataLossError:
            if first <= retained:
                raise
            retained = first


async def _fetch_run(
    reader: LogReader, partition: TopicPartition, decisions: Sequence[Decision]
) -> AsyncIterator[tuple[Decision, Content]]:
    if not decisions:
        return
    done = 0
    first, last = decisions[0].origin.offset, decisions[-1].origin.offset
    async for record in reader.read(partition, first, last + 1):
        while done < len(decisions) and decisions[done].origin.offset < record.offset:
            yield decisions[done], Content(error="missing")
            done += 1
        while done < len(decisions) and decisions[done].origin.offset == record.offset:
            yield decisions[done], content_of(record, decisions[done].id)
            done += 1
    for decision in decisions[done:]:
        yield decision, Content(error="missing")


def content_of(record: Record, document_id: str) -> Content:
    """The content of a document's record."""
    try:
        stored = _decode(record.value or b"")
        messages, parts, meta = _text(stored.messages), _text(stored.parts), _text(stored.meta)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Content(error="unreadable")
    if stored.id != document_id:
        return Content(error="id_differs")
    if stored.text is None and messages is None and parts is None:
        return Content(error="not_inline")
    return Content(stored.text, messages, parts, meta)


def _run(decisions: Sequence[Decision], start: int) -> int:
    """End of the decisions from `start` on whose offsets lie close together."""
    end = start
    while end < len(decisions):
        if end > start and decisions[end].origin.offset - decisions[end - 1].origin.offset > GAP_RECORDS:
            break
        end += 1
    return end


def _place(decision: Decision) -> tuple[str, int, int]:
    return decision.origin.topic, decision.origin.partition, decision.origin.offset


def _text(raw: Raw) -> str | None:
    text = bytes(raw).decode()
    return None if text == "null" else text
