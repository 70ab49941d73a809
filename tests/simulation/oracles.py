"""What must be true of every seed, whatever happened. Each oracle counts for itself, from the log's records."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import msgspec

from mira_stream.audit.result import AuditResult
from mira_stream.audit.run import audit
from mira_stream.config import Project
from mira_stream.messages import DeadLetter, Decision, Document, Origin, decoder
from mira_stream.records import Record, TopicPartition
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.cluster import Cluster
from tests.simulation.project import GROUPS

GONE: Final = ("deleted_unread", "topic_made_anew", "topic_missing")
"""Findings of documents that are gone."""
Range = tuple[str, int, int, int | None]
"""(topic, partition, first, last): offsets; no last where nobody knows it"""
_decision: Final = decoder(Decision).decode
_letter: Final = decoder(DeadLetter).decode
_document: Final = decoder(Document).decode

Place = tuple[str, int, int, int]
"""(topic, partition, offset, time in ms): a topic that was made anew has other documents at the same offsets"""


class _Card(msgspec.Struct):
    origin: Origin


_card: Final = msgspec.json.Decoder(_Card).decode


class Offsets(dict[TopicPartition, int]):
    """Committed offsets that say when one goes backwards, also after they were forgotten. In a topic that was made anew
    they may: whoever is behind the times commits that of the one before."""

    def __init__(self, name: str, violations: list[str]) -> None:
        super().__init__()
        self._name = name
        self._violations = violations
        self._anew: set[TopicPartition] = set()
        self.known: dict[TopicPartition, int] = {}
        """The last of each."""

    def update(self, more: Mapping[TopicPartition, int]) -> None:  # type: ignore[override]
        for partition, offset in more.items():
            if offset < self.known.get(partition, 0) and partition not in self._anew:
                self._violations.append(f"{self._name} {partition}: offset {offset} after {self.known[partition]}")
        self.known.update(more)
        super().update(more)

    def made_anew(self, partitions: Iterable[TopicPartition]) -> None:
        self._anew.update(partitions)


class Witness:
    """Reads committed records while the faults go on, and remembers what it saw."""

    def __init__(self, cluster: Cluster, project: Project) -> None:
        self._cluster = cluster
        self._project = project
        self._progress = project.topic("progress")
        self.documents: dict[Place, str | None] = {}
        """Id of each document that the log has held; None where it is none."""
        self.rows: Counter[str] = Counter()
        """How many rows of the source files bear an id."""
        self.outcomes: Counter[Place] = Counter()
        self.may_be_lost: set[Place] = set()
        """Deleted before they had an outcome."""
        self.beside: list[str] = []
        """Documents that were sent again beside others of their id, or beside an outcome."""
        self._places: defaultdict[str, list[Place]] = defaultdict(list)
        self._cards: set[Place] = set()
        """Documents that have a score card."""
        self._of_before: set[Place] = set()
        """Documents of topics that were made anew since."""
        self._begun_before: set[tuple[str, int]] = set()
        """Partitions of such topics in which a scorer had begun."""
        self.letters_at_produce = 0
        self.unknown: list[str] = []
        """Documents whose source was taken for unknown."""
        self._seen: dict[TopicPartition, list[tuple[int, int]]] = {}
        self._next: dict[TopicPartition, int] = {}
        topics: dict[str, Callable[[Record], None]] = {
            project.topic("scores"): self._see_card,
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
            if not self._is_there(partition):
                continue
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
            if place[:2] == partition and place[2] < before and place not in self.outcomes.keys() | self._of_before
        }

    def made_anew(self, topic: str, begun: Collection[TopicPartition]) -> None:
        """A documents' topic is deleted. `begun`: its partitions in which a scorer has ever committed an offset."""
        self.look()
        self._of_before |= {place for place in self.documents if place[0] == topic}
        self.may_be_lost |= self._of_before - self.outcomes.keys()
        self._begun_before.update((one.topic, one.partition) for one in begun)
        for partition, _ in self._partitions:
            if partition.topic == topic:
                self._seen.pop(partition, None)
                self._next.pop(partition, None)

    def unread(self) -> set[Place]:
        """What is gone without card or outcome; of an earlier topic only where a scorer had begun and its Progress can
        be seen, for of another nobody knows that it was there."""
        gone = self.may_be_lost - self._cards - self.outcomes.keys()
        gone -= self._hidden() if gone else set()
        begun = self._begun_before & self._seen_to_begin() if gone & self._of_before else set()
        return {place for place in gone if place not in self._of_before or place[:2] in begun}

    def of_before(self) -> set[Place]:
        """Documents of topics that were made anew since."""
        return set(self._of_before)

    def _hidden(self) -> set[Place]:
        """Documents whose card or dead letter an open transaction hides, of which the audit tells: they were read."""
        origins = [_card(one.value or b"").origin for one in self._hidden_of("scores")]
        letters = [_letter(one.value or b"").origin for one in self._hidden_of("dead-letters")]
        return {_place_of(origin) for origin in [*origins, *letters] if origin is not None}

    def _hidden_of(self, name: str) -> list[Record]:
        partitions = self._cluster.partitions(self._project.topic(name))
        return [record for partition in partitions for record in self._cluster.log(partition).hidden()]

    def _seen_to_begin(self) -> set[tuple[str, int]]:
        """Partitions of which some stage has written Progress that no open transaction hides."""
        found = set()
        for partition in self._cluster.partitions(self._progress):
            log = self._cluster.log(partition)
            for record in log.committed_from(log.first, log.next_offset, log.next_offset)[0]:
                _, topic, number = (record.key or b"").decode().split("|")
                found.add((topic, int(number)))
        return found

    def _is_there(self, partition: TopicPartition) -> bool:
        return partition in self._cluster.partitions(partition.topic)

    def changed(self) -> list[str]:
        """Partitions whose committed records are not (any more) what was seen."""
        said = []
        for partition, _ in self._partitions:
            if not self._is_there(partition):
                continue
            log = self._cluster.log(partition)
            now = [
                (r.offset, hash(r.value)) for r in log.committed_from(log.first, log.next_offset, log.next_offset)[0]
            ]
            if now != [one for one in self._seen.get(partition, []) if one[0] >= log.first]:
                said.append(f"{partition}: a reader during the faults saw other records than there are now")
        return said

    def is_done(self, documents: int, rejected: int) -> bool:
        """`documents`: so many must have been there."""
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

    def counts(self, rejected: int, *, loses: bool) -> list[str]:
        """Every row is one document, every document has one outcome, and nothing else has any. With `loses` every row
        has one that was not lost: what was gone was sent again when all was over. Every source is registered before
        its first document, in all lineages that scorers may be at work in."""
        said = [f"{name}: unknown_source" for name in self.unknown] + self.beside
        if not loses:
            there, meant = Counter(self.documents.values()), Counter[str | None](self.rows)
            if there != meant:
                said.append(f"documents: missing {dict(meant - there)}, too many {dict(there - meant)}")
        said += [f"{name}: gone, and not sent again" for name in self.rows if not self._left(name)]
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
        here = self._of_this_log(result)
        covered = {
            place for place in self.documents.keys() - self._of_before if any(_holds(one, place) for one in here)
        }
        said = [f"{place}: written off with an outcome" for place in covered & self.outcomes.keys()]
        return said + self.unnamed(result, self.unread())

    def unnamed(self, result: AuditResult, gone: Iterable[Place]) -> list[str]:
        """Of what is gone that which the audit does not tell of. Of a topic that was made anew it says no more than
        that something is gone of the one before."""
        found = {finding.origin.split("@")[0] for finding in result.findings if finding.code in GONE}
        rests = {one[:2] for one in map(_range_of, result.written_off_ranges) if one[3] is None}
        here = self._of_this_log(result)
        said = []
        for place in gone:
            is_named = place[:2] in rests if place in self._of_before else any(_holds(one, place) for one in here)
            if not is_named and f"{place[0]}/{place[1]}" not in found:
                said.append(f"{place}: deleted unread, and no audit says so")
        return said

    def _of_this_log(self, result: AuditResult) -> list[Range]:
        """The ranges that were written off of each partition since its topic was made."""
        kept: dict[tuple[str, int], list[Range]] = {}
        for one in map(_range_of, result.written_off_ranges):
            kept[one[:2]] = [] if one[3] is None else [*kept.get(one[:2], ()), one]
        return [one for ranges in kept.values() for one in ranges]

    def _left(self, name: str) -> list[Place]:
        """The places of an id that are not gone without card or outcome."""
        done = self._cards | self.outcomes.keys()
        return [one for one in self._places[name] if one not in self.may_be_lost or one in done]

    def _see_document(self, record: Record) -> None:
        try:
            name: str | None = _document(record.value or b"").id
        except msgspec.DecodeError:
            name = None
        place = (record.topic, record.partition, record.offset, record.timestamp_ms)
        self.documents[place] = name
        if name is not None:
            self._places[name].append(place)
            if len(left := self._left(name)) > self.rows[name]:
                self.beside.append(f"{name}: {self.rows[name]} rows, and it stands at {left}")

    def _see_card(self, record: Record) -> None:
        self._cards.add(_place_of(_card(record.value or b"").origin))

    def _see_decision(self, record: Record) -> None:
        self.outcomes[_place_of(_decision(record.value or b"").origin)] += 1

    def _see_letter(self, record: Record) -> None:
        letter = _letter(record.value or b"")
        if letter.reason == "unknown_source":
            self.unknown.append(f"{letter.stage} {letter.id}")
        if letter.stage == "produce":
            self.letters_at_produce += 1
        elif letter.origin is not None:
            self.outcomes[_place_of(letter.origin)] += 1


def _place_of(origin: Origin) -> Place:
    return origin.topic, origin.partition, origin.offset, origin.timestamp_ms


def _range_of(name: str) -> Range:
    where, _, offsets = name.rpartition("@")
    topic, _, number = where.rpartition("/")
    first, _, last = offsets.partition("-")
    return topic, int(number), int(first), int(last) if last else None


def _holds(one: Range, place: Place) -> bool:
    return one[:2] == place[:2] and one[2] <= place[2] and (one[3] is None or place[2] <= one[3])


def decided(project: Project, broker: MemoryBroker) -> list[Decision]:
    """All decisions, partition by partition."""
    return [_decision(record.value or b"") for record in broker.records(project.topic("decisions"))]


async def audited(project: Project, broker: MemoryBroker, witness: Witness, *, resized: bool) -> list[str]:
    """The audit of the product: decisions, epochs and windows recomputed, origins counted once more. `resized`: windows
    are of another size than before, where the audit ends to compare them."""
    result = await audit(project, broker, None, patience_s=0.0)
    said = [f"audit: {one}" for one in result.findings]
    said += witness.written_off(result)
    if result.waiting:
        said.append(f"audit: {result.waiting} documents wait")
    if result.window_sources_not_compared and not resized:
        said.append(f"audit: {result.window_sources_not_compared} sources whose windows are of another size or grace")
    if result.decisions_recomputed + result.dead_letters_recomputed == 0 and result.cards:
        said.append("audit: recomputed nothing")
    return said
