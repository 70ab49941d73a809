"""Finds the records of one document in the topics: by its id, then by origin and position."""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple, TypeVar

import msgspec

from mira_stream.config import Project
from mira_stream.messages import DeadLetter, Decision, Document, Epoch, Mask, Origin, ScoreCard, Wire, decoder
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.selecting.following import check_whole
from mira_stream.selecting.policies import PolicyLog

M = TypeVar("M", bound=Wire)
_document_decoder: Final = decoder(Document)
_card_decoder: Final = decoder(ScoreCard)
_decision_decoder: Final = decoder(Decision)
_letter_decoder: Final = decoder(DeadLetter)
_epoch_decoder: Final = decoder(Epoch)


class Trail(NamedTuple):
    """One document's records, as far as they are still in the log. Several documents may bear one id."""

    id: str
    origin: Origin | None
    record: Record | None
    card: ScoreCard | None
    decision: Decision | None
    dead_letter: DeadLetter | None
    epoch: Epoch | None
    mask: Mask | None

    @property
    def document(self) -> Document | None:
        """None if it is deleted or no valid document."""
        return None if self.record is None else _read(_document_decoder, self.record)


async def find_trails(reader: LogReader, project: Project, document_id: str) -> list[Trail]:
    """Everything under an id: its outcomes, else the documents that have none yet. Reads the topics through.
    Raises ConfigError for a broken policy topic, DataLossError(policy_lost)."""
    key = document_id.encode()
    trails = []
    async for record in _keyed(reader, project.topic("decisions"), key):
        decision = _read(_decision_decoder, record)
        if decision is not None:
            trails.append(await _decided(reader, project, decision))
    async for record in _keyed(reader, project.topic("dead-letters"), key):
        letter = _read(_letter_decoder, record)
        if letter is not None:
            trails.append(await _buried(reader, project, document_id, letter))
    return trails or await _undecided(reader, project, document_id)


async def _decided(reader: LogReader, project: Project, decision: Decision) -> Trail:
    scores = TopicPartition(project.topic("scores"), decision.card.partition)
    record = await _one(reader, scores, decision.card.offset)
    epoch = None
    async for found in _all(reader, TopicPartition(project.topic("epochs"), decision.card.partition)):
        read = _read(_epoch_decoder, found)
        if read is not None and (read.epoch_of, read.epoch) == (decision.epoch_of, decision.epoch):
            epoch = read
    policies = PolicyLog(project.settings.topics.scores_key)
    policy = TopicPartition(project.topic("policy"), 0)
    check_whole(policy, (await reader.bounds([policy]))[policy][0])
    policies.extend([record async for record in _all(reader, policy)])
    rules = policies.rules(decision.group, decision.source, decision.lineage, decision.policy)
    return Trail(
        decision.id,
        decision.origin,
        await _at(reader, decision.origin),
        None if record is None else _read(_card_decoder, record),
        decision,
        None,
        epoch,
        None if rules is None else rules.mask,
    )


async def _buried(reader: LogReader, project: Project, document_id: str, letter: DeadLetter) -> Trail:
    record = None if letter.origin is None else await _at(reader, letter.origin)
    card = None
    if letter.stage == "aggregate" and letter.origin is not None:
        card = await _card_of(reader, project, letter.origin, document_id)
    return Trail(document_id, letter.origin, record, card, None, letter, None, None)


async def _undecided(reader: LogReader, project: Project, document_id: str) -> list[Trail]:
    trails = []
    for group in sorted(project.settings.groups):
        topic = project.documents_topic(group)
        async for record in _keyed(reader, topic, document_id.encode()):
            origin = Origin(
                topic=topic, partition=record.partition, offset=record.offset, timestamp_ms=record.timestamp_ms
            )
            card = await _card_of(reader, project, origin, document_id)
            trails.append(Trail(document_id, origin, record, card, None, None, None, None))
    return trails


async def _card_of(reader: LogReader, project: Project, origin: Origin, document_id: str) -> ScoreCard | None:
    wanted = msgspec.json.encode(document_id)
    found = None
    for partition in await reader.partitions(project.topic("scores")):
        async for record in _all(reader, partition):
            if wanted in (record.value or b""):
                card = _read(_card_decoder, record)
                found = card if card is not None and card.origin == origin else found
    return found


async def _keyed(reader: LogReader, topic: str, key: bytes) -> AsyncIterator[Record]:
    for partition in await reader.partitions(topic):
        async for record in _all(reader, partition):
            if record.key == key:
                yield record


async def _all(reader: LogReader, partition: TopicPartition) -> AsyncIterator[Record]:
    first, end = (await reader.bounds([partition]))[partition]
    if first < end:
        async for record in reader.read(partition, first, end):
            yield record


async def _at(reader: LogReader, origin: Origin) -> Record | None:
    """The document; None if it is deleted, also if its topic was, and another document is there now."""
    partition = TopicPartition(origin.topic, origin.partition)
    if partition not in await reader.partitions(origin.topic):
        return None
    record = await _one(reader, partition, origin.offset)
    return record if record is not None and record.timestamp_ms == origin.timestamp_ms else None


async def _one(reader: LogReader, partition: TopicPartition, offset: int) -> Record | None:
    """The record at an offset; None if retention has deleted it."""
    first, end = (await reader.bounds([partition]))[partition]
    if not first <= offset < end:
        return None
    found = None
    async for record in reader.read(partition, offset, offset + 1):
        found = record
    return found


def _read(decode: msgspec.json.Decoder[M], record: Record) -> M | None:
    try:
        return decode.decode(record.value or b"")
    except msgspec.DecodeError:
        return None
