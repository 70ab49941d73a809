"""What must be true of every seed, whatever happened. Each oracle counts for itself, from the log's records."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from mira_stream.audit.result import AuditResult
from mira_stream.audit.run import audit
from mira_stream.config import Project
from mira_stream.messages import DeadLetter, Decision, Document, decoder
from mira_stream.records import Record, TopicPartition
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.cluster import Cluster
from tests.simulation.project import GROUPS

_decision: Final = decoder(Decision).decode
_letter: Final = decoder(DeadLetter).decode
_document: Final = decoder(Document).decode

Place = tuple[str, int, int]
"""(topic, partition, offset)"""


class Offsets(dict[TopicPartition, int]):
    """Committed offsets that say when one goes backwards, also after they were forgotten."""

    def __init__(self, name: str, violations: list[str]) -> None:
        super().__init__()
        self._name = name
        self._violations = violations
        self._known: dict[TopicPartition, int] = {}

    def update(self, more: Mapping[TopicPartition, int]) -> None:  # type: ignore[override]
        for partition, offset in more.items():
            if offset < self._known.get(partition, 0):
                self._violations.append(f"{self._name} {partition}: offset {offset} after {self._known[partition]}")
        self._known.update(more)
        super().update(more)


class Witness:
    """Reads committed records while the faults go on, and remembers what it saw."""

    def __init__(self, cluster: Cluster, project: Project) -> None:
        self._cluster = cluster
        self.documents: dict[Place, str | None] = {}
        """Id of each document in the log; None where it is none."""
        self.outcomes: Counter[Place] = Counter()
        self.may_be_lost: set[Place] = set()
        """Deleted before they had an outcome."""
        self.letters_at_produce = 0
        self.unknown: list[str] = []
        """Documents whose source was taken for unknown."""
        self._seen: dict[TopicPartition, list[tuple[int, int]]] = {}
        self._next: dict[TopicPartition, int] = {}
        topics: dict[str, Callable[[Record], None]] = {
            project.topic("decisions"): self._see_decision,
            project.topic("dead-letters"): self._see_letter,
        }
        topics |= {project.documents_topic(group): self._see_document for group in GROUPS}
        self._stages = [
            *((project.consumer_group(f"scorer.{group}"), project.documents_topic(group)) for group in GROUPS),
            (project.consumer_group("aggregator"), project.topic("scores")),
        ]
        self._partitions = [(p, see) for topic, see in topics.items() for p in cluster.partitions(topic)]

    def look(self) -> None:
        """Take in what was committed since the last look."""
        for partition, see in self._partitions:
            log = self._cluster.log(partition)
            position = max(self._next.get(partition, 0), log.first)
            records, self._next[partition] = log.committed_from(position, log.next_offset, log.next_offset)
            for record in records:
                self._seen.setdefault(partition, []).append((record.offset, hash(record.value)))
                see(record)

    def deleted(self, partition: TopicPartition, before: int) -> None:
        """Retention took all records of a partition before an offset."""
        self.may_be_lost |= {
            place
            for place in self.documents
            if place[:2] == partition and place[2] < before and place not in self.outcomes
        }

    def changed(self) -> list[str]:
        """Partitions whose committed records are not (any more) what was seen."""
        said = []
        for partition, _ in self._partitions:
            log = self._cluster.log(partition)
            now = [
                (r.offset, hash(r.value)) for r in log.committed_from(log.first, log.next_offset, log.next_offset)[0]
            ]
            if now != [one for one in self._seen.get(partition, []) if one[0] >= log.first]:
                said.append(f"{partition}: a reader during the faults saw other records than there are now")
        return said

    def is_done(self, documents: int, rejected: int) -> bool:
        return (
            len(self.documents) >= documents
            and self.letters_at_produce >= rejected
            and self.documents.keys() - self.may_be_lost <= self.outcomes.keys()
            and all(self._is_idle(group, topic) for group, topic in self._stages)
        )

    def _is_idle(self, consumer_group: str, topic: str) -> bool:
        """Whether no record of the topic is left to the group."""
        offsets = self._cluster.group(consumer_group).offsets
        for partition in self._cluster.partitions(topic):
            log = self._cluster.log(partition)
            position = max(offsets.get(partition, 0), log.first)
            if log.committed_from(position, log.next_offset, 1)[0]:
                return False
        return True

    def counts(self, ids: Iterable[str], rejected: int) -> list[str]:
        """Every row is one document, every document has one outcome, and nothing else has any. Every source is
        registered before its first document, in all lineages that scorers may be at work in."""
        said = [f"{name}: unknown_source" for name in self.unknown]
        there, meant = Counter(self.documents.values()), Counter[str | None](ids)
        if there != meant:
            said.append(f"documents: missing {dict(meant - there)}, too many {dict(there - meant)}")
        if self.letters_at_produce != rejected:
            said.append(f"{self.letters_at_produce} dead letters at produce for {rejected} broken rows")
        said += [f"{place}: {count} outcomes" for place, count in self.outcomes.items() if count != 1]
        said += [
            f"{place}: no outcome"
            for place in self.documents
            if not (place in self.outcomes or place in self.may_be_lost)
        ]
        said += [f"{place}: an outcome of no document" for place in self.outcomes if place not in self.documents]
        return said

    def written_off(self, result: AuditResult) -> list[str]:
        """What was deleted before it had an outcome is named as written off or found; nothing else is written off."""
        found = {finding.origin.split("@")[0] for finding in result.findings if finding.code == "deleted_unread"}
        named = [_range_of(name) for name in result.written_off_ranges]
        covered = {place for place in self.documents if any(_holds(one, place) for one in named)}
        unread = {place for place in self.may_be_lost - self.outcomes.keys() if f"{place[0]}/{place[1]}" not in found}
        said = [f"{place}: deleted unread, and no audit says so" for place in unread - covered]
        return said + [f"{place}: written off with an outcome" for place in covered & self.outcomes.keys()]

    def _see_document(self, record: Record) -> None:
        try:
            name: str | None = _document(record.value or b"").id
        except msgspec.DecodeError:
            name = None
        self.documents[record.topic, record.partition, record.offset] = name

    def _see_decision(self, record: Record) -> None:
        origin = _decision(record.value or b"").origin
        self.outcomes[origin.topic, origin.partition, origin.offset] += 1

    def _see_letter(self, record: Record) -> None:
        letter = _letter(record.value or b"")
        if letter.reason == "unknown_source":
            self.unknown.append(f"{letter.stage} {letter.id}")
        if letter.stage == "produce":
            self.letters_at_produce += 1
        elif letter.origin is not None:
            self.outcomes[letter.origin.topic, letter.origin.partition, letter.origin.offset] += 1


def _range_of(name: str) -> tuple[str, int, int, int]:
    """(topic, partition, first, last)"""
    where, _, offsets = name.rpartition("@")
    topic, _, number = where.rpartition("/")
    first, _, last = offsets.partition("-")
    return topic, int(number), int(first), int(last)


def _holds(one: tuple[str, int, int, int], place: Place) -> bool:
    return one[:2] == place[:2] and one[2] <= place[2] <= one[3]


def decided(project: Project, broker: MemoryBroker) -> list[Decision]:
    """All decisions, partition by partition."""
    return [_decision(record.value or b"") for record in broker.records(project.topic("decisions"))]


async def audited(project: Project, broker: MemoryBroker, witness: Witness, *, loses: bool, resized: bool) -> list[str]:
    """The audit of the product: decisions, epochs and windows recomputed, origins counted once more. With `loses`
    documents are deleted unread, and the run may end before a scorer has gone on behind them. `resized`: windows are
    of another size than before, where the audit ends to compare them."""
    result = await audit(project, broker, None, patience_s=0.0)
    said = [f"audit: {one}" for one in result.findings if not (loses and one.code == "deleted_unread")]
    said += witness.written_off(result)
    if result.waiting:
        said.append(f"audit: {result.waiting} documents wait")
    if result.window_sources_not_compared and not resized:
        said.append(f"audit: {result.window_sources_not_compared} sources whose windows are of another size or grace")
    if result.decisions_recomputed + result.dead_letters_recomputed == 0 and result.cards:
        said.append("audit: recomputed nothing")
    return said
