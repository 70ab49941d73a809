"""Dead letters on their way back into the stream: each document once more, as a new record with a new outcome.

A transaction holds the documents and, in `mira.ingest`, that they were replayed: started again, or after a commit
whose outcome was not learnt, no letter is replayed a second time.
"""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Final, Literal, NamedTuple
from uuid import uuid4

from mira_stream.audit.letters import Found, Place
from mira_stream.config import Project
from mira_stream.ingest.again import Gone, document_of
from mira_stream.ingest.positions import Positions
from mira_stream.messages import IngestPosition, encode
from mira_stream.parquet import READERS
from mira_stream.records import LogReader, Outgoing
from mira_stream.scoring.limit import CAUSES
from mira_stream.streaming.ports import Broker, TransactionalProducer

FEED: Final = "dlq"
TRANSACTION_RECORDS: Final = 500
STOPPING: Final = CAUSES | {"unknown_source"}
"""Reasons of letters whose like stop a stage when there are too many in a row."""
Outcome = Literal["replayed", "would_replay", "replayed_before", "left", "gone"]


class Replayed(NamedTuple):
    """What became of one letter, and for `gone` why. `left`: for another time, as enough of its like were replayed."""

    place: Place
    id: str | None
    outcome: Outcome
    why: str = ""


async def replay(
    broker: Broker,
    project: Project,
    letters: AsyncIterable[Found],
    *,
    again: bool = False,
    dry_run: bool = False,
    most: int | None = None,
) -> list[Replayed]:
    """Produce the documents of these letters once more; `again`: those that were replayed before, too. `most`: so many
    at most of those that died of what stops a stage (`STOPPING`); None: all.

    Raises ProducerFenced if another replay took over, CommitUnknown if the broker left a commit without an answer:
    run it again, what is in the log is known there.
    """
    reader = await broker.reader()
    try:
        if dry_run:
            seen = Positions(reader, project.topic("ingest"))
            await seen.read_new()
            return [one async for one, _ in _tried(letters, seen, reader, project, again=again, most=most)]
        producer = await broker.producer(project.topic(f"produce.{FEED}"))
        try:
            return await _produced(producer, letters, reader, project, again, most)
        finally:
            await producer.close()
    finally:
        await reader.close()


async def _produced(
    producer: TransactionalProducer,
    letters: AsyncIterable[Found],
    reader: LogReader,
    project: Project,
    again: bool,
    most: int | None,
) -> list[Replayed]:
    positions, token = Positions(reader, project.topic("ingest")), uuid4().hex
    await producer.commit([positions.opening(FEED, token)], {}, None)
    await positions.catch_up(FEED, token, 2 * project.settings.broker.transaction_timeout_ms / 1000)
    done: list[Replayed] = []
    pending: list[Outgoing] = []
    async for one, records in _tried(letters, positions, reader, project, again=again, most=most):
        pending += records
        done.append(one._replace(outcome="replayed") if records else one)
        if len(pending) >= 2 * TRANSACTION_RECORDS:
            await producer.commit(pending, {}, None)
            pending.clear()
    if pending:
        await producer.commit(pending, {}, None)
    return done


async def _tried(
    letters: AsyncIterable[Found],
    positions: Positions,
    reader: LogReader,
    project: Project,
    *,
    again: bool,
    most: int | None,
) -> AsyncIterator[tuple[Replayed, list[Outgoing]]]:
    """Each letter with the records of its replay; none if there is nothing to replay."""
    topic, taken = project.topic("dead-letters"), 0
    async for found in letters:
        place, feed = found.place, f"@{FEED}:{found.place}"
        noted = positions.of(feed)
        if noted is not None and noted.etag == found.letter.sha256 and not again:
            yield Replayed(place, found.letter.id, "replayed_before"), []
            continue
        stopping = found.letter.reason in STOPPING
        if stopping and most is not None and taken >= most:
            yield Replayed(place, found.letter.id, "left"), []
            continue
        record = await _record(found, topic, reader, project)
        if isinstance(record, str):
            yield Replayed(place, found.letter.id, "gone", record), []
        else:
            taken += stopping
            yield Replayed(place, found.letter.id, "would_replay"), [record, _noted(project, feed, found)]


async def _record(found: Found, topic: str, reader: LogReader, project: Project) -> Outgoing | str:
    try:
        return await document_of(found.letter, f"{topic}/{found.place}", reader, project, READERS)
    except Gone as gone:
        return str(gone)


def _noted(project: Project, feed: str, found: Found) -> Outgoing:
    note = IngestPosition(
        feed=feed, etag=found.letter.sha256, unit="row", next=found.place.offset + 1, documents=1, rejected=0, done=True
    )
    return Outgoing(project.topic("ingest"), feed.encode(), encode(note), 0)
