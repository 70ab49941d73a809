"""Guards taken out, one at a time: each must be caught, or the simulation proves nothing."""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from msgspec.structs import replace

from mira_stream.errors import CommitUnknown, EngineError
from mira_stream.ingest.positions import go_on
from mira_stream.messages import Decision
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.scoring.handler import ScoringHandler
from mira_stream.sections import WindowsSection
from mira_stream.selecting.handler import SelectingFactory, SelectingHandler
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.remasking import Remasked, remasked
from mira_stream.selecting.windowing import PriorOf, Windowing
from mira_stream.streaming.admission import Admission
from mira_stream.streaming.offsets import Range, Release, Span
from mira_stream.streaming.ports import TransactionalProducer
from mira_stream.testing.consumer import MemoryConsumer
from mira_stream.windows import EventTime, SourceWindows, Window, event_time
from tests.simulation import lost
from tests.simulation.network import Network, SimulatedBroker, SimulatedConsumer, SimulatedProducer
from tests.simulation.run import Mutation

Commit = Callable[[Any, Sequence[Outgoing], Mapping[TopicPartition, int], str | None], Any]

_commit: Final[Commit] = SimulatedProducer.commit
_producer: Final = SimulatedBroker.producer
_release: Final = Span.release
_finished: Final = Span.finished
_handle: Final = ScoringHandler.handle
_make: Final = SelectingFactory.__call__
_windowing: Final = Windowing.__init__
_resize: Final = SourceWindows.resize


class Mutant(NamedTuple):
    broken: str
    mutation: Mutation


def _with_commit(commit: Commit) -> Mutation:
    return lambda network: patch.object(SimulatedProducer, "commit", commit)


# -- at the broker's port: what a careless client does --


def _id_of_process(network: Network) -> AbstractContextManager[object]:
    async def producer(self: SimulatedBroker, transactional_id: str) -> TransactionalProducer:
        return await _producer(self, f"{transactional_id}.{self.process}")

    return patch.object(SimulatedBroker, "producer", producer)


class _FencedLate:
    """A producer that fences its older owners with its first commit."""

    def __init__(self, broker: SimulatedBroker, transactional_id: str) -> None:
        self._broker = broker
        self._transactional_id = transactional_id
        self._producer: TransactionalProducer | None = None

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        if self._producer is None:
            self._producer = await _producer(self._broker, self._transactional_id)
        await self._producer.commit(records, offsets, consumer_group)

    async def close(self) -> None: ...


def _fenced_late(network: Network) -> AbstractContextManager[object]:
    async def producer(self: SimulatedBroker, transactional_id: str) -> TransactionalProducer:
        return _FencedLate(self, transactional_id)

    return patch.object(SimulatedBroker, "producer", producer)


async def _unknown_is_done(self: Any, records: Any, offsets: Any, group: Any) -> None:
    try:
        await _commit(self, records, offsets, group)
    except CommitUnknown:
        self._usable = True


async def _unknown_is_sent_again(self: Any, records: Any, offsets: Any, group: Any) -> None:
    try:
        await _commit(self, records, offsets, group)
    except CommitUnknown:
        again = SimulatedProducer(self._network, self._process, self._transactional_id)
        self._epoch, self._usable = again._epoch, True
        await _unknown_is_sent_again(self, records, offsets, group)


async def _not_awaited(self: Any, records: Any, offsets: Any, group: Any) -> None:
    rejected = self._network.rng.random() < 0.1
    await _commit(self, records[1:] if rejected else records, offsets, group)


async def _offsets_apart(self: Any, records: Any, offsets: Any, group: Any) -> None:
    await _commit(self, records, {}, group)
    await _commit(self, [], offsets, group)


async def _offsets_first(self: Any, records: Any, offsets: Any, group: Any) -> None:
    await _commit(self, [], offsets, group)
    await _commit(self, records, {}, group)


async def _no_progress(self: Any, records: Any, offsets: Any, group: Any) -> None:
    await _commit(self, [record for record in records if "progress" not in record.topic], offsets, group)


async def _epochs_apart(self: Any, records: Any, offsets: Any, group: Any) -> None:
    epochs = [record for record in records if record.topic.endswith("epochs")]
    if epochs:
        await _commit(self, epochs, {}, group)
    await _commit(self, [record for record in records if not record.topic.endswith("epochs")], offsets, group)


def _seeks_too_far(network: Network) -> AbstractContextManager[object]:
    def seek(self: SimulatedConsumer, partition: TopicPartition, offset: int) -> None:
        MemoryConsumer.seek(self, partition, offset + (offset > 0))

    return patch.object(SimulatedConsumer, "seek", seek)


# -- inside the product --


def _released_too_early(network: Network) -> AbstractContextManager[object]:
    def release(self: Span, limit: int, *, in_order: bool = False) -> Release | None:
        found = _release(self, limit, in_order=in_order)
        return None if found is None else found._replace(next_offset=self.last + 1, finished=[])

    return patch.object(Span, "release", release)


def _ranges_over_gaps(network: Network) -> AbstractContextManager[object]:
    def finished(self: Span) -> list[Range]:
        ranges = _finished(self)
        return [Range(ranges[0].first, ranges[-1].last)] if ranges else []

    return patch.object(Span, "finished", finished)


def _error_swallowed(network: Network) -> AbstractContextManager[object]:
    async def handle(self: ScoringHandler, record: Record) -> Sequence[Outgoing]:
        try:
            return await _handle(self, record)
        except EngineError:
            return []

    return patch.object(ScoringHandler, "handle", handle)


def _credit_kept(network: Network) -> AbstractContextManager[object]:
    return patch.object(Admission, "settle", lambda self, partition, offset: None)


def _state_not_replayed(network: Network) -> AbstractContextManager[object]:
    async def replay(*_: object) -> int:
        return 0

    return patch("mira_stream.selecting.restore._replay", replay)


def _handler_outlives(network: Network) -> AbstractContextManager[object]:
    kept: dict[tuple[object, TopicPartition], SelectingHandler] = {}

    def make(self: SelectingFactory, partition: TopicPartition, reader: LogReader) -> SelectingHandler:
        if (self, partition) not in kept:
            kept[self, partition] = _make(self, partition, reader)
            return kept[self, partition]
        handler = kept[self, partition]
        handler.open = _nothing  # type: ignore[method-assign]
        return handler

    return patch.object(SelectingFactory, "__call__", make)


async def _nothing(next_offset: int) -> None: ...


def _rows_again(network: Network) -> AbstractContextManager[object]:
    rng = random.Random(1)
    forgetful = lambda feed, file, last, *more: go_on(feed, file, last if rng.random() < 0.8 else None, *more)  # noqa: E731
    return patch("mira_stream.ingest.source.go_on", forgetful)


# -- windows: the audit counts with the same defect, and sees nothing --


def _windows_longer(network: Network) -> AbstractContextManager[object]:
    def begin(self: Windowing, section: WindowsSection, prior_of: PriorOf) -> None:
        _windowing(self, replace(section, size_s=section.size_s + 1), prior_of)

    return patch.object(Windowing, "__init__", begin)


def _border_before(network: Network) -> AbstractContextManager[object]:
    def before(decision: Decision) -> EventTime:
        time = event_time(decision)
        return time._replace(ms=time.ms - 1)

    return patch("mira_stream.windows.event_time", before)


def _grace_left_out(network: Network) -> AbstractContextManager[object]:
    def is_past(self: SourceWindows, window: Window) -> bool:
        return self.largest_ms is not None and window.end_ms <= self.largest_ms

    return patch.object(SourceWindows, "_is_past", is_past)


def _progress_not_looked_for(network: Network) -> AbstractContextManager[object]:
    async def nowhere(*_: object) -> None:
        return None

    return patch("mira_stream.streaming.starting.progress_elsewhere", nowhere)


def _written_off_forgotten(network: Network) -> AbstractContextManager[object]:
    return patch("mira_stream.streaming.starting.added", lambda before, lost: None)


# -- policies: a mask that a command has forgotten is to the audit what was asked for --


def _older_lineage_left(network: Network) -> AbstractContextManager[object]:
    def newest(log: PolicyLog, *more: Any) -> Remasked:
        found = remasked(log, *more)
        return found._replace(masks=[mask for mask in found.masks if log.is_newest(mask)])

    return patch("mira_stream.selecting.changing.remasked", newest)


def _nonsense_in_force(network: Network) -> AbstractContextManager[object]:
    return patch("mira_stream.selecting.policies.nonsense", lambda *_: None)


def _not_passed_over(network: Network) -> AbstractContextManager[object]:
    return patch("mira_stream.selecting.policies.skipped", lambda records: set())


def _windows_thrown_away(network: Network) -> AbstractContextManager[object]:
    def resize(self: SourceWindows, size_ms: int, grace_ms: int, next_offset: int) -> None:
        if size_ms != self.size_ms:
            self.windows.clear()
        _resize(self, size_ms, grace_ms, next_offset)

    return patch.object(SourceWindows, "resize", resize)


def _windows_overlap(network: Network) -> AbstractContextManager[object]:
    def resize(self: SourceWindows, size_ms: int, grace_ms: int, next_offset: int) -> None:
        before = self.horizon_ms
        _resize(self, size_ms, grace_ms, next_offset)
        self.horizon_ms = before

    return patch.object(SourceWindows, "resize", resize)


MUTANTS: Final = {
    "id of the process": Mutant("one transactional id a process, not a partition", _id_of_process),
    "fenced late": Mutant("committed offset read before the older owner is fenced", _fenced_late),
    "unknown is done": Mutant("a commit without answer taken for committed", _with_commit(_unknown_is_done)),
    "unknown is sent again": Mutant("a commit without answer sent once more", _with_commit(_unknown_is_sent_again)),
    "send not awaited": Mutant("a record refused, its transaction committed", _with_commit(_not_awaited)),
    "offsets apart": Mutant("offsets committed after the records", _with_commit(_offsets_apart)),
    "offsets first": Mutant("offsets committed before the records", _with_commit(_offsets_first)),
    "no progress": Mutant("results released without Progress", _with_commit(_no_progress)),
    "progress at home": Mutant("Progress not looked for where it lay before", _progress_not_looked_for),
    "written off forgotten": Mutant("an accepted loss that nobody writes down", _written_off_forgotten),
    "epochs apart": Mutant("epochs written before their decisions", _with_commit(_epochs_apart)),
    "seeks too far": Mutant("the position is one too high", _seeks_too_far),
    "released too early": Mutant("offset committed beyond what is settled", _released_too_early),
    "ranges over gaps": Mutant("Progress claims what was not finished", _ranges_over_gaps),
    "error swallowed": Mutant("an engine's failure taken for a result", _error_swallowed),
    "credit kept": Mutant("a settled record gives no credit back", _credit_kept),
    "state not replayed": Mutant("state without the cards since its checkpoint", _state_not_replayed),
    "handler outlives": Mutant("state of an aborted transaction kept", _handler_outlives),
    "rows again": Mutant("a producer that forgets its position", _rows_again),
    "windows longer": Mutant("windows of another size than the project's", _windows_longer),
    "border before": Mutant("a document at a window's end counted into it", _border_before),
    "grace left out": Mutant("windows closed without grace", _grace_left_out),
    "windows thrown away": Mutant("a change of size forgets what was counted", _windows_thrown_away),
    "windows overlap": Mutant("windows of a new size over those of the old", _windows_overlap),
    "older lineage left": Mutant("a command changes the masks of the newest lineage only", _older_lineage_left),
    "nonsense in force": Mutant("a policy nobody can put in force is", _nonsense_in_force),
    "not passed over": Mutant("`policy skip` is not heeded", _not_passed_over),
    "id not asked for": Mutant("a commit that does not ask whether the topic was made anew", lost.id_not_asked_for),
    "ids not compared": Mutant("a position in the topic before taken for one in this", lost.ids_not_compared),
    "rest forgotten": Mutant("of a topic made anew nothing is written off", lost.rest_forgotten),
    "anew unsaid": Mutant("an audit that does not compare ids of topics", lost.anew_unsaid),
    "gone unsaid": Mutant("an audit that misses no topic", lost.gone_unsaid),
    "unread unsaid": Mutant("an audit that does not look at what was deleted", lost.unread_unsaid),
    "scorer not done": Mutant("sent again while a scorer may have it in hand", lost.scorer_not_done),
    "outcomes not read": Mutant("sent again though it has an outcome", lost.outcomes_not_read),
    "letters not read": Mutant("sent again though it has a dead letter", lost.letters_not_read),
    "topics not read": Mutant("sent again though it stands in its topic", lost.topics_not_read),
    "others not fenced": Mutant("two runs after what is missing side by side", lost.others_not_fenced),
    "all is there": Mutant("nothing is sent again", lost.all_is_there),
}
