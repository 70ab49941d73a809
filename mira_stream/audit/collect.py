"""Documents, decisions and dead letters, counted by origin from the topics themselves."""

from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
import numpy as np

from mira_stream.audit.origins import (
    AGGREGATE,
    DECISION,
    DOUBLED,
    GIVEN_UP,
    LETTER,
    SELECTED,
    UNEXPORTED,
    WAITS,
    Ground,
    Origins,
    hashed,
    name_of,
)
from mira_stream.audit.result import Findings
from mira_stream.audit.rows import row_hashes
from mira_stream.audit.snapshot import Bounds, Snapshot
from mira_stream.exporting.rows import score_columns
from mira_stream.messages import DeadLetter, Decision, Origin, decoder
from mira_stream.records import LogReader, Record

EXAMPLES_MAX: Final = 20
BATCH: Final = 1_000
_decision_decoder: Final = decoder(Decision)
_letter_decoder: Final = decoder(DeadLetter)


async def each(reader: LogReader, bounds: Bounds) -> AsyncGenerator[Record, None]:
    """All records within the bounds, partition by partition."""
    for partition in sorted(bounds):
        first, end = bounds[partition]
        if first < end:
            async for record in reader.read(partition, first, end):
                yield record


class Collector:
    """Marks on the origins what the topics say; keeps no record."""

    def __init__(self, reader: LogReader, snapshot: Snapshot, origins: Origins, findings: Findings) -> None:
        self._reader = reader
        self._snapshot = snapshot
        self._origins = origins
        self._findings = findings
        self._aggregated = {partition.partition: end for partition, end in snapshot.aggregated.items()}
        self._ids = array("Q")
        self.letters_at_produce = 0

    async def documents(self) -> None:
        """Which origins there are, and which of them the scorer has not reached."""
        async for record in each(self._reader, self._snapshot.documents):
            ground = self._origins.grounds[record.source]
            ground.document(record.offset, record.timestamp_ms)
            if record.offset >= self._snapshot.standing.scored[record.source]:
                ground.mark(record.offset, WAITS)
            if record.key is not None:
                self._ids.append(hashed(record.key))

    async def duplicate_ids(self) -> tuple[int, list[str]]:
        """(how many ids more than one document bears, the first of them by name)."""
        values, counts = np.unique(np.frombuffer(self._ids, dtype=np.uint64), return_counts=True)
        repeated = frozenset(values[counts > 1].tolist())
        names: dict[str, None] = {}
        if repeated:
            async with aclosing(each(self._reader, self._snapshot.documents)) as records:
                async for record in records:
                    if record.key is not None and hashed(record.key) in repeated:
                        names[record.key.decode(errors="replace")] = None
                        if len(names) == EXAMPLES_MAX:
                            break
        return len(repeated), list(names)

    async def decisions(self) -> None:
        """At most one decision a document, in its partition, in the order of the score log."""
        last: dict[tuple[int, int], int] = {}
        batch: list[tuple[Ground, int, Decision]] = []
        async for record in each(self._reader, self._snapshot.decisions):
            decision = self._decision(record)
            if decision is None:
                continue
            self._check_order(record, decision, last)
            self._note_earlier(record, decision)
            ground = self._outcome(record, decision.origin, DECISION, "decision")
            if ground is None:
                continue
            offset = decision.origin.offset
            if decision.selected:
                ground.mark(offset, SELECTED)
            if record.offset >= self._snapshot.exported[record.source]:
                ground.mark(offset, UNEXPORTED)
            if any(first <= record.offset <= last for first, last in self._snapshot.given_up.get(record.partition, ())):
                ground.mark(offset, GIVEN_UP)
            batch.append((ground, offset, decision))
            if len(batch) == BATCH:
                _note_rows(batch)
                batch = []
        _note_rows(batch)

    async def dead_letters(self) -> None:
        """At most one a document, and none beside a decision."""
        async for record in each(self._reader, self._snapshot.dead_letters):
            try:
                letter = _letter_decoder.decode(record.value or b"")
            except msgspec.DecodeError as error:
                self._findings.add("dead_letter_unreadable", _at(record), str(error))
                continue
            if letter.stage == "produce":
                self.letters_at_produce += 1
            elif letter.origin is None:
                detail = f"{letter.stage}: {letter.reason}, no origin: its document cannot be named"
                self._findings.add("dead_letter_without_origin", _at(record), detail)
            else:
                ground = self._outcome(record, letter.origin, LETTER, "dead_letter")
                if ground is not None and letter.stage == "aggregate":
                    ground.mark(letter.origin.offset, AGGREGATE)

    def _decision(self, record: Record) -> Decision | None:
        try:
            return _decision_decoder.decode(record.value or b"")
        except msgspec.DecodeError as error:
            self._findings.add("decision_unreadable", _at(record), str(error))
            return None

    def _note_earlier(self, record: Record, decision: Decision) -> None:
        """If the decision is on a document of an earlier topic."""
        ground, card = self._origins.earlier_ground(decision.origin), decision.card
        if ground is None:
            return
        ground.earlier_cards = max(ground.earlier_cards, card.offset + 1)
        if card.offset < self._aggregated.get(card.partition, 0):
            self._origins.earlier.written(card.partition, hashed(record.value or b""))

    def _check_order(self, record: Record, decision: Decision, last: dict[tuple[int, int], int]) -> None:
        lane = (record.partition, decision.card.partition)
        if decision.card.offset < last.get(lane, -1):
            detail = f"card {decision.card.offset} comes after card {last[lane]} of scores/{decision.card.partition}"
            self._findings.add("decision_out_of_order", name_of(decision.origin), detail)
        last[lane] = decision.card.offset
        if record.partition != decision.origin.partition or record.key != decision.id.encode():
            detail = f"stands in partition {record.partition} under key {record.key!r}"
            self._findings.add("decision_misplaced", name_of(decision.origin), detail)

    def _outcome(self, record: Record, origin: Origin, flag: int, kind: str) -> Ground | None:
        """Mark an outcome on its document; None if there is no such document in range."""
        if (earlier := self._origins.earlier_ground(origin)) is not None:
            earlier.is_anew = True
            self._origins.earlier.outcomes += 1
            return None
        ground, where = self._origins.find(origin)
        if ground is None:
            if where == "unknown":
                self._findings.add(f"{kind}_without_document", _at(record), f"no document is at {name_of(origin)}")
            elif where == "before":
                self._origins.note_deleted(origin)
            return None
        had_other = ground.has(origin.offset, DECISION | LETTER)
        if ground.mark(origin.offset, flag):
            self._findings.add(f"{kind}_doubled", name_of(origin), f"again at {_at(record)}")
        elif had_other:
            self._findings.add("decision_and_dead_letter", name_of(origin), f"the second is at {_at(record)}")
        if had_other:
            ground.mark(origin.offset, DOUBLED)
        ground.outcomes[origin.offset - ground.first] = hashed(record.value or b"")
        return ground


def _note_rows(batch: Sequence[tuple[Ground, int, Decision]]) -> None:
    hashes = row_hashes(score_columns([decision for _, _, decision in batch]))
    for (ground, offset, _), row in zip(batch, hashes, strict=True):
        ground.rows[offset - ground.first] = row


def _at(record: Record) -> str:
    return f"{record.topic}/{record.partition}@{record.offset}"
