"""Every epoch and every decision once more, from the score log and the policy topic, by the aggregator's own code.

Only what cannot be known from them is taken from `mira.epochs`: which policy version had been read at a border.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import msgspec

from mira_stream.audit.ahead import Ahead
from mira_stream.audit.layouts import of_project
from mira_stream.audit.origins import AGGREGATE, CARD, DECISION, LETTER, WAITS, Ground, Origins, hashed, name_of
from mira_stream.audit.result import Findings
from mira_stream.audit.snapshot import Snapshot
from mira_stream.audit.windows import WrittenWindows, read_layouts, read_states
from mira_stream.errors import DocumentError
from mira_stream.messages import DeadLetter, Decision, Epoch, Origin, ScoreCard, decoder, encode
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.sections import WindowsSection
from mira_stream.selecting.letters import no_mask, refused, unreadable
from mira_stream.selecting.policies import PolicyLog, Rules
from mira_stream.selecting.selector import Selector

READ_WITHIN_MS: Final = 120_000
"""An aggregator reads policies before each transaction, and the broker ends one that lasts longer than seconds. The
rest is for clocks that differ."""
_card_decoder: Final = decoder(ScoreCard)
_epoch_decoder: Final = decoder(Epoch)


class Tally:
    """How much was recomputed, over all partitions."""

    def __init__(self) -> None:
        self.cards = 0
        self.epochs = 0
        self.decisions = 0
        self.dead_letters = 0
        self.windows = 0
        self.windows_waiting = 0
        self.windows_changed: set[str] = set()
        self._homes: dict[str, tuple[int, set[int]]] = {}

    def take(self, card: ScoreCard, record: Record, findings: Findings) -> None:
        """Count a card; its group's cards are all on one partition."""
        self.cards += 1
        home, others = self._homes.setdefault(card.group, (record.partition, set()))
        if record.partition != home and record.partition not in others:
            others.add(record.partition)
            at = f"{record.topic}/{record.partition}@{record.offset}"
            findings.add("group_moved", at, f"cards of group {card.group} are on partition {home}, too: two owners")


class WrittenEpochs:
    """The epochs of one partition, taken in step with the cards they begin at."""

    def __init__(self, records: AsyncIterator[Record], findings: Findings) -> None:
        self._ahead = Ahead(records, _epoch_decoder, findings, "epoch_unreadable")
        self._findings = findings

    async def at(self, card_offset: int) -> tuple[Record, Epoch] | None:
        """The epoch that begins at this card; those that begin at no card are findings."""
        while (found := await self._ahead.peek()) is not None and found[1].first_offset <= card_offset:
            self._ahead.take()
            if found[1].first_offset == card_offset:
                return found
            self._say_extra(found)
        return None

    async def finish(self, end: int) -> None:
        """What is left belongs behind `end`, or nowhere."""
        while (found := await self._ahead.peek()) is not None:
            self._ahead.take()
            if found[1].first_offset < end:
                self._say_extra(found)

    def _say_extra(self, found: tuple[Record, Epoch]) -> None:
        record, epoch = found
        detail = (
            f"epoch {epoch.epoch} of {epoch.epoch_of} at card {epoch.first_offset}: the score log has no border there"
        )
        self._findings.add("epoch_extra", f"{record.topic}/{record.partition}@{record.offset}", detail)


class Recomputation:
    """One partition of the score log, from its first card to the aggregator's committed offset."""

    def __init__(
        self,
        partition: TopicPartition,
        policies: PolicyLog,
        epochs: WrittenEpochs,
        windows: WrittenWindows,
        origins: Origins,
        findings: Findings,
        tally: Tally,
    ) -> None:
        self._partition = partition
        self._policies = policies
        self._epochs = epochs
        self._windows = windows
        self._origins = origins
        self._findings = findings
        self._tally = tally
        self._selector = Selector(partition.partition)
        self._unread: set[tuple[str, str, int]] = set()

    async def take(self, record: Record) -> None:
        """Compare what this card must have become with what was written."""
        written = await self._epochs.at(record.offset)
        await self._windows.until(record.offset)
        try:
            card = _card_decoder.decode(record.value or b"")
        except msgspec.DecodeError as error:
            letter = unreadable(record, str(error))
            if letter.origin is not None:
                note_card(self._origins, letter.origin, record, self._findings)
            self._compare_border(record, None, written)
            self._compare_letters([letter])
            return
        self._tally.take(card, record, self._findings)
        note_card(self._origins, card.origin, record, self._findings)
        rules = self._rules(card, None if written is None else written[1])
        self._compare_version(record, card, rules)
        if rules is None:
            self._compare_border(record, None, written)
            known, unknown = (refused(record, card, no_mask(card, known=known)) for known in (True, False))
            self._compare_letters([known, unknown])
            return
        selection = self._selector.select(card, record.offset, rules)
        self._compare_border(record, selection.epoch, written)
        if isinstance(selection.outcome, DocumentError):
            self._compare_letters([refused(record, card, selection.outcome)])
        else:
            self._windows.add(selection.outcome)
            self._compare_decision(selection.outcome)

    def _rules(self, card: ScoreCard, written: Epoch | None) -> Rules | None:
        """As the aggregator knew them; None if it knew none. It had read up to the newest version of any epoch before
        this card, at least; had it read of anything that concerns this card since, an epoch would begin here."""
        seen = max(self._selector.seen, -1 if written is None else written.policy)
        found = self._policies.rules(card.group, card.source, card.lineage, seen) if seen >= 0 else None
        if found is not None:
            return found
        ground, _ = self._origins.find(card.origin)
        if ground is None or ground.has(card.origin.offset, AGGREGATE):
            return None  # refused; or its document is gone, and with a mask an epoch would begin here
        return self._policies.rules(card.group, card.source, card.lineage)

    def _compare_version(self, record: Record, card: ScoreCard, rules: Rules | None) -> None:
        """Whoever never reads a newer policy decides by the older one, to the byte: only the time gives it away."""
        known = -1 if rules is None else rules.version
        due = self._policies.version_at(record.timestamp_ms - READ_WITHIN_MS)
        newer = self._policies.rules(card.group, card.source, card.lineage, due) if due > known else None
        if newer is None or newer.version <= known or (card.source, card.lineage, newer.version) in self._unread:
            return
        self._unread.add((card.source, card.lineage, newer.version))
        where = f"{record.topic}/{record.partition}@{record.offset}"
        detail = (
            f"{card.source}: policy {newer.version} was there {READ_WITHIN_MS // 1_000} s before this card, and it was"
            f" judged by {'none' if rules is None else f'policy {known}'}"
        )
        self._findings.add("policy_not_read", where, detail)

    def _compare_border(self, record: Record, expected: Epoch | None, written: tuple[Record, Epoch] | None) -> None:
        where = f"{record.topic}/{record.partition}@{record.offset}"
        if expected is None:
            if written is not None:
                detail = f"epoch {written[1].epoch} of {written[1].epoch_of} begins at this card: no border is here"
                self._findings.add("epoch_extra", where, detail)
            return
        self._tally.epochs += 1
        if written is None:
            detail = (
                f"no epoch was written; recomputed: epoch {expected.epoch} of {expected.epoch_of} ({expected.cause})"
            )
            self._findings.add("epoch_missing", where, detail)
            return
        actual, key = written[0].value or b"", written[0].key
        if actual != encode(expected) or key != expected.epoch_of.encode():
            detail = f"written {actual.decode(errors='replace')} under {key!r}; recomputed {encode(expected).decode()}"
            self._findings.add("epoch_differs", where, detail)

    def _compare_decision(self, expected: Decision) -> None:
        self._tally.decisions += 1
        origin = expected.origin
        ground, where = self._origins.find(origin)
        if ground is None:
            if where == "earlier":
                self._origins.earlier.recomputed(self._partition.partition, hashed(encode(expected)))
            return
        if ground.has(origin.offset, DECISION):
            if _outcome(ground, origin.offset) != hashed(encode(expected)):
                detail = (
                    f"{expected.id}: recomputed {expected.decision} ({expected.reason}), quality {expected.quality},"
                    f" epoch {expected.epoch}; other bytes were written"
                )
                self._findings.add("decision_differs", name_of(origin), detail)
        elif ground.has(origin.offset, AGGREGATE):
            detail = f"{expected.id}: a dead letter was written; recomputed {expected.decision} ({expected.reason})"
            self._findings.add("decision_differs", name_of(origin), detail)

    def _compare_letters(self, expected: list[DeadLetter]) -> None:
        """One of these must have been written."""
        self._tally.dead_letters += 1
        letter = expected[0]
        if letter.origin is None:
            return
        offset = letter.origin.offset
        ground, _ = self._origins.find(letter.origin)
        if ground is None or not ground.has(offset, DECISION | LETTER):
            return
        if _outcome(ground, offset) not in {hashed(encode(one)) for one in expected}:
            detail = f"{letter.id}: recomputed {letter.reason} ({letter.error}); other bytes were written"
            self._findings.add("dead_letter_differs", name_of(letter.origin), detail)


async def recompute(
    reader: LogReader,
    snapshot: Snapshot,
    policies: PolicyLog,
    windows: WindowsSection,
    origins: Origins,
    findings: Findings,
    tally: Tally,
) -> None:
    """All partitions of the score log, one after the other."""
    for partition, (first, stable) in sorted(snapshot.scores.items()):
        end = min(stable, snapshot.aggregated[partition])
        epochs, summaries, states = (
            TopicPartition(partition.topic.removesuffix("scores") + name, partition.partition)
            for name in ("epochs", "windows", "state")
        )
        records = _read(reader, epochs, snapshot.epochs.get(epochs, (0, 0)))
        written = WrittenEpochs(records, findings)
        bounds = snapshot.windows.get(summaries, (0, 0))
        layouts = await read_layouts(_read(reader, summaries, bounds), of_project(windows))
        summed_up = _read(reader, summaries, bounds)
        windowed = WrittenWindows(summed_up, layouts, policies, findings)
        work = Recomputation(partition, policies, written, windowed, origins, findings, tally)
        whole = first == 0
        if not whole:
            detail = f"retention has deleted the first {first} offsets of the score log: nothing to start from"
            findings.add("not_recomputed", f"{partition.topic}/{partition.partition}@{first}", detail)
        async for record in _read(reader, partition, (first, stable)):
            if record.offset >= end or not whole:
                _note_waiting(origins, record, tally, findings, waits=record.offset >= end)
            else:
                await work.take(record)
        if whole and all(oldest == 0 for oldest, _ in snapshot.decisions.values()):  # else some are deleted
            origins.earlier.compare(partition, findings)
        else:
            origins.earlier.is_compared = False
        if whole:
            await written.finish(end)
            await windowed.until(end)
            if end == snapshot.aggregated[partition]:
                kept = _read(reader, states, snapshot.state.get(states, (0, 0)))
                windowed.finish(f"{summaries.topic}/{summaries.partition}", await read_states(kept, end))
        tally.windows += windowed.compared
        tally.windows_waiting += windowed.waiting
        tally.windows_changed |= windowed.changed
        await records.aclose()
        await summed_up.aclose()


def note_card(origins: Origins, origin: Origin, record: Record, findings: Findings) -> Ground | None:
    """Mark that the document has a card: at most one."""
    ground, where = origins.find(origin)
    if ground is None:
        if where == "unknown":
            at = f"{record.topic}/{record.partition}@{record.offset}"
            findings.add("card_without_document", at, f"no document is at {name_of(origin)}")
        elif where == "before":
            origins.note_deleted(origin)
        return None
    if ground.mark(origin.offset, CARD):
        findings.add("card_doubled", name_of(origin), f"again at {record.topic}/{record.partition}@{record.offset}")
    return ground


def _note_waiting(origins: Origins, record: Record, tally: Tally, findings: Findings, *, waits: bool) -> None:
    try:
        card = _card_decoder.decode(record.value or b"")
    except msgspec.DecodeError:
        return
    tally.take(card, record, findings)
    ground = note_card(origins, card.origin, record, findings)
    if ground is not None and waits:
        ground.mark(card.origin.offset, WAITS)


def _outcome(ground: Ground, offset: int) -> int:
    return ground.outcomes[offset - ground.first]


async def _read(reader: LogReader, partition: TopicPartition, bounds: tuple[int, int]) -> AsyncGenerator[Record, None]:
    first, end = bounds
    if first < end:
        async for record in reader.read(partition, first, end):
            yield record
