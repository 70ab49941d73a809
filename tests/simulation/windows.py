"""Event-time windows counted by hand from the decisions.

The audit counts them with the product's own code, and takes size and grace from the summaries themselves: a stream that
works with others than its project says is, to the audit, one whose owner has changed them.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from mira_stream.config import Project
from mira_stream.messages import Decision, decoder
from mira_stream.records import Record
from mira_stream.sections import WINDOWS_MAX, WindowsSection
from mira_stream.testing.broker import MemoryBroker
from mira_stream.window_messages import WindowSummary

AHEAD_MS: Final = 300_000
_summary: Final = decoder(WindowSummary).decode
Key = tuple[int, str]
"""(start in ms, lineage)"""


def windows_counted(
    project: Project, broker: MemoryBroker, found: Iterable[Decision], reached: Counter[str]
) -> list[str]:
    """Every summary holds the documents that were its window's, of the size that the project says, and came when it was
    closed and not before; each closed window has one. `reached` counts what there was."""
    counts = {place: _Counted(project.settings.windows, of_place) for place, of_place in _by_place(found).items()}
    met, said = Counter[str](), list[str]()
    for record in broker.records(project.topic("windows")):
        summary = _summary(record.value or b"")
        counted = counts.get((record.partition, summary.source))
        if counted is None:
            said.append(f"{_named(summary)}: a source without decisions")
            continue
        counted.until(summary.next_offset)
        said += [f"{_named(summary)}: {wrong}" for wrong in counted.wrong(summary, record)]
        met["window of one document"] += summary.documents == 1
        met["window corrected"] += summary.revision > 1
    for (partition, source), counted in counts.items():
        counted.until(None)
        said += [f"window {key} of {source} on {partition}: no summary" for key in counted.missing()]
        met["document dated"] += counted.dated_documents
        met["document too late"] += counted.too_late
    reached += met  # in place: without what was not met
    return said


def windows_bounded(
    project: Project, broker: MemoryBroker, found: Iterable[Decision], sections: Iterable[WindowsSection]
) -> list[str]:
    """What holds of windows, at whichever card their size was changed. It takes effect where an aggregator begins, and
    one that begins again counts with the old size what nothing of was written: so how many there are is known, but for
    those too late."""
    summaries: defaultdict[tuple[int, str], list[WindowSummary]] = defaultdict(list)
    for record in broker.records(project.topic("windows")):
        summary = _summary(record.value or b"")
        summaries[record.partition, summary.source].append(summary)
    layouts = {(section.size_s * 1_000, section.grace_s * 1_000) for section in sections}
    return [
        f"windows of {place[1]} on {place[0]}: {wrong}"
        for place, decisions in _by_place(found).items()
        for wrong in _Bounded(layouts, summaries[place]).wrong(decisions)
    ]


class _Bounded:
    """One source's summaries under the one size and the other. `layouts`: (size, grace) in ms."""

    def __init__(self, layouts: Collection[tuple[int, int]], summaries: Sequence[WindowSummary]) -> None:
        self._sizes, self._graces = {size for size, _ in layouts}, {grace for _, grace in layouts}
        self._summaries = summaries
        self._spans = sorted({(one.start_ms, one.end_ms) for one in summaries})

    def wrong(self, decisions: Sequence[Decision]) -> Iterator[str]:
        for one in self._summaries:
            size = one.end_ms - one.start_ms
            if size not in self._sizes or one.start_ms % size or one.grace_ms not in self._graces:
                yield f"{one.start_ms} to {one.end_ms} with a grace of {one.grace_ms} ms was never asked for"
        for (first, end), (second, after) in pairwise(self._spans):
            if second < end:
                yield f"{first} to {end} and {second} to {after} overlap"
        for one in self._summaries:
            inside = sum(_is_of(decision, one) for decision in decisions if decision.card.offset < one.next_offset)
            if not inside - one.too_late <= one.documents <= inside:
                yield f"{one.start_ms}: {one.documents} documents, {inside} are in it, {one.too_late} were too late"
        yield from self._missing(decisions)

    def _missing(self, decisions: Sequence[Decision]) -> Iterator[str]:
        """Documents whose window is closed, however long it may be, and that no summary has."""
        last = max(self._summaries, key=lambda one: one.next_offset, default=None)
        before = [one for one in decisions if last is None or one.card.offset < last.next_offset]
        times: dict[bool, int] = {}
        for decision in before:
            dated, time_ms = _time(decision)
            times[dated] = max(time_ms, times.get(dated, 0))
        closed_ms = times.get(True, times.get(False, 0)) - max(self._graces) - max(self._sizes)
        left = [
            one.id
            for one in before
            if _time(one)[1] < closed_ms and not any(_is_of(one, summary) for summary in self._summaries)
        ]
        if len(left) > (0 if last is None else last.too_late):
            yield f"no summary has {left}"


def _is_of(decision: Decision, summary: WindowSummary) -> bool:
    return summary.start_ms <= _time(decision)[1] < summary.end_ms and summary.lineage == decision.lineage


def _by_place(found: Iterable[Decision]) -> dict[tuple[int, str], list[Decision]]:
    """By partition of the card and source."""
    decisions: defaultdict[tuple[int, str], list[Decision]] = defaultdict(list)
    for decision in found:
        decisions[decision.card.partition, decision.source].append(decision)
    return decisions


def _time(decision: Decision) -> tuple[bool, int]:
    """(whether it is the document's own, event time in ms)."""
    ingested_ms = decision.origin.timestamp_ms
    dated = decision.event_time_ms != ingested_ms and decision.event_time_ms <= ingested_ms + AHEAD_MS
    return dated, decision.event_time_ms if dated else ingested_ms


def _named(summary: WindowSummary) -> str:
    return f"window {summary.start_ms} of {summary.source}, revision {summary.revision}"


class _Counted:
    """One source's windows, in the order of its cards."""

    def __init__(self, windows: WindowsSection, decisions: Iterable[Decision]) -> None:
        self._size_ms = windows.size_s * 1_000
        self._grace_ms = windows.grace_s * 1_000
        self._left = sorted(decisions, key=lambda one: one.card.offset, reverse=True)
        self._documents: Counter[Key] = Counter()
        self._kept: set[Key] = set()
        self._given_up: set[Key] = set()
        self._summed_up: set[Key] = set()
        self._times: dict[bool, int] = {}
        """The largest event time of documents with one of their own (True), and without."""
        self.dated_documents = 0
        self.too_late = 0

    def until(self, next_offset: int | None) -> None:
        """Count the cards before an offset; None: all."""
        while self._left and (next_offset is None or self._left[-1].card.offset < next_offset):
            self._count(self._left.pop())

    def wrong(self, summary: WindowSummary, record: Record) -> Iterator[str]:
        key, end_ms = (summary.start_ms, summary.lineage), summary.start_ms + self._size_ms
        self._summed_up.add(key)
        if summary.start_ms % self._size_ms or (summary.end_ms, summary.grace_ms) != (end_ms, self._grace_ms):
            yield f"ends at {summary.end_ms} with a grace of {summary.grace_ms} ms"
        if summary.documents != self._documents[key]:
            yield f"{summary.documents} documents, {self._documents[key]} are counted"
        if summary.too_late != self.too_late:
            yield f"{summary.too_late} documents too late, {self.too_late} are counted"
        if key not in self._given_up and not self._is_past(end_ms) and record.timestamp_ms < end_ms + self._grace_ms:
            yield "summed up before it was closed"

    def missing(self) -> list[Key]:
        closed = {key for key in self._kept if self._is_past(key[0] + self._size_ms)}
        return sorted((closed | self._given_up) - self._summed_up)

    def _is_past(self, end_ms: int) -> bool:
        return self._times.get(True, self._times.get(False, 0)) - self._grace_ms >= end_ms

    def _count(self, decision: Decision) -> None:
        dated, time_ms = _time(decision)
        key = (time_ms - time_ms % self._size_ms, decision.lineage)
        oldest_ms = max((start + self._size_ms for start, _ in self._given_up), default=0)
        if key not in self._kept and key[0] < oldest_ms:
            self.too_late += 1
            return
        self.dated_documents += dated
        self._times[dated] = max(time_ms, self._times.get(dated, 0))
        self._documents[key] += 1
        self._kept.add(key)
        if len(self._kept) > WINDOWS_MAX:
            oldest = min(self._kept)
            self._kept.remove(oldest)
            self._given_up.add(oldest)
