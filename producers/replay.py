"""Dead letters on their way back into the stream: each document once more, as a new record with a new outcome.

A transaction holds the documents and, in `mira.ingest`, that they were replayed: started again, or after a commit
whose outcome was not learnt, no letter is replayed a second time.
"""

from collections.abc import AsyncIterable
from typing import Final, Literal, NamedTuple
from uuid import uuid4

from mira_stream.audit.letters import Found
from mira_stream.config import Project
from mira_stream.ingest.again import Gone, document_of
from mira_stream.ingest.positions import Positions
from mira_stream.messages import IngestPosition, encode
from mira_stream.parquet import READERS
from mira_stream.records import LogReader, Outgoing
from mira_stream.streaming.ports import Broker

FEED: Final = "dlq"
TRANSACTION_RECORDS: Final = 500
Outcome = Literal["replayed", "would_replay", "replayed_before", "gone"]


class Replayed(NamedTuple):
    """What became of one letter, and for `gone` why."""

    found: Found
    outcome: Outcome
    why: str = ""


async def replay(
    broker: Broker, project: Project, letters: AsyncIterable[Found], *, again: bool = False, dry_run: bool = False
) -> list[Replayed]:
    """Produce the documents of these letters once more; `again`: those that were replayed before, too.

    Raises ProducerFenced if another replay took over, CommitUnknown if the broker left a commit without an answer:
    run it again, what is in the log is known there.
    """
    topic = project.topic("dead-letters")
    reader = await broker.reader()
    producer = await broker.producer(project.topic(f"produce.{FEED}"))
    done: list[Replayed] = []
    pending: list[Outgoing] = []
    try:
        positions = Positions(reader, project.topic("ingest"))
        token = uuid4().hex
        await producer.commit([positions.opening(FEED, token)], {}, None)
        await positions.catch_up(FEED, token, 2 * project.settings.broker.transaction_timeout_ms / 1000)
        async for found in letters:
            feed = f"@{FEED}:{found.place}"
            if positions.of(feed) is not None and not again:
                done.append(Replayed(found, "replayed_before"))
                continue
            record = await _record(found, topic, reader, project)
            if isinstance(record, str):
                done.append(Replayed(found, "gone", record))
                continue
            done.append(Replayed(found, "would_replay" if dry_run else "replayed"))
            pending += [record, _noted(project, feed, found)]
            if len(pending) >= 2 * TRANSACTION_RECORDS and not dry_run:
                await producer.commit(pending, {}, None)
                pending.clear()
        if pending and not dry_run:
            await producer.commit(pending, {}, None)
    finally:
        await producer.close()
        await reader.close()
    return done


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
