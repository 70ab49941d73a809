"""Whether a topic that has another id is the log that was read all the same: restored from a copy, or moved to another
cluster.

Positions mean the same records only if each stands at its offset. What was made of a record names it: a score card or
a dead letter its document, a decision its card, an export its last decision. The newest that was made of a partition
is looked up there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from mira_stream.errors import DataLossError
from mira_stream.messages import DeadLetter, Decision, Export, Origin, ScoreCard, decoder
from mira_stream.progress_messages import Progress
from mira_stream.records import LogReader, Record, TopicPartition

LOOK_OFFSETS: Final = 2_000
"""So many at the end of each partition of results are looked through."""

_card: Final = decoder(ScoreCard).decode
_letter: Final = decoder(DeadLetter).decode
_decision: Final = decoder(Decision).decode
_export: Final = decoder(Export).decode


class _Named(msgspec.Struct):
    id: str


_named: Final = msgspec.json.Decoder(_Named).decode


class Witness(NamedTuple):
    """What a result says of the record that it was made of; None: nothing. `offset` -1: it was made of none."""

    partition: TopicPartition
    offset: int
    id: str | None = None
    timestamp_ms: int | None = None


class Results(NamedTuple):
    """A topic of results, and what one of its records says of the topic that they were made of."""

    topic: str
    says: Callable[[Record], Witness | None]


def of_documents(scores: str, dead_letters: str) -> list[Results]:
    def card(record: Record) -> Witness | None:
        said = _card(record.value or b"")
        return _of_origin(said.origin, said.id)

    def letter(record: Record) -> Witness | None:
        said = _letter(record.value or b"")
        return None if said.origin is None else _of_origin(said.origin, None)

    return [Results(scores, card), Results(dead_letters, letter)]


def of_scores(scores: str, decisions: str) -> list[Results]:
    def decision(record: Record) -> Witness | None:
        said = _decision(record.value or b"")
        return Witness(TopicPartition(scores, said.card.partition), said.card.offset, said.id)

    return [Results(decisions, decision)]


def of_decisions(decisions: str, exports: str) -> list[Results]:
    def export(record: Record) -> Witness | None:
        said = _export(record.value or b"")
        return Witness(TopicPartition(decisions, said.partition), -1 if said.anew else said.last)

    return [Results(exports, export)]


async def witnesses(reader: LogReader, topic: str, results: Iterable[Results]) -> Mapping[TopicPartition, Witness]:
    """The newest of each partition of the topic, by the time of the results."""
    found: dict[TopicPartition, tuple[int, Witness]] = {}
    for name, says in results:
        for place, (first, end) in (await reader.bounds(await reader.partitions(name))).items():
            async for record in reader.read(place, max(first, end - LOOK_OFFSETS), end):
                try:
                    witness = says(record)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue  # says nothing of any record; its own readers refuse it
                if witness is None or witness.partition.topic != topic:
                    continue
                said_ms, _ = found.get(witness.partition, (record.timestamp_ms, witness))
                if record.timestamp_ms >= said_ms:
                    found[witness.partition] = record.timestamp_ms, witness
    return {partition: witness for partition, (_, witness) in found.items()}


async def check_same(
    reader: LogReader,
    topic: str,
    progress: Sequence[Progress],
    seen: Mapping[TopicPartition, Witness],
) -> None:
    """Raises DataLossError(another_log) if the topic is shorter than what was read of it, or a record that is named is
    not there."""
    bounds = await reader.bounds(await reader.partitions(topic))
    for partition in seen.keys() - bounds.keys():
        raise _another(partition, f"results were made of it, and the topic has {len(bounds)} partitions")
    for said in progress:
        partition = TopicPartition(topic, said.partition)
        first, end = bounds[partition]
        read_to = max([said.next_offset, *(last + 1 for _, last in said.finished)])
        if read_to > end:
            raise _another(partition, f"it was read up to offset {read_to - 1}, and ends at {end}")
        witness = seen.get(partition)
        if witness is not None and first <= witness.offset < read_to:  # others are of a topic before, or deleted
            await _look(reader, witness)


async def _look(reader: LogReader, witness: Witness) -> None:
    partition, offset, named, timestamp_ms = witness
    there = [record async for record in reader.read(partition, offset, offset + 1)]
    if not there:
        raise _another(partition, f"a result is of offset {offset}, and no record is there")
    if timestamp_ms is not None and there[0].timestamp_ms != timestamp_ms:
        raise _another(
            partition,
            f"a result is of offset {offset} and the time {timestamp_ms} ms, and the record there has"
            f" {there[0].timestamp_ms} ms",
        )
    if named is not None and (found := _id_of(there[0])) != named:
        raise _another(partition, f"a result is of {named!r} at offset {offset}, and {found!r} is there")


def _id_of(record: Record) -> str | None:
    try:
        return _named(record.value or b"").id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _of_origin(origin: Origin, named: str | None) -> Witness:
    return Witness(TopicPartition(origin.topic, origin.partition), origin.offset, named, origin.timestamp_ms)


def _another(partition: TopicPartition, said: str) -> DataLossError:
    return DataLossError(
        "another_log",
        f"{partition.topic}/{partition.partition} is not the log that was read: {said}",
        "restore it with every record at its offset and with its time (markers of transactions take offsets, too);"
        " without such a copy: topic_made_anew in deploy/OPERATING.md",
    )
