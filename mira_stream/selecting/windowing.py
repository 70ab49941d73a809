"""All windows of one partition of the score log: what is counted, what is summed up, what a restart finds.

A restart counts cards again from a source's newest WindowsState on. It can do so only where the selector can decide
them again, so that state is written whenever a border writes the states that decide the source's cards; and with
every summary, so that none is written twice.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

import structlog

from mira_stream.messages import Decision, Prior
from mira_stream.sections import WindowsSection
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.scopes import is_shared_name
from mira_stream.window_messages import WindowsState, WindowSummary
from mira_stream.windows import Added, Key, SourceWindows, Window, thaw

log: Final = structlog.get_logger("mira_stream.windows")

SCAN_MS: Final = 5_000
"""So often all sources are looked at, not only those with new cards."""

CORRECTED_MS: Final = 10_000
"""So often at most the windows of a source are corrected: else every transaction with a late document would write them
and all the source's windows anew. A window that is given up is corrected at once, for the last time."""

TOO_LATE_OF: Final = 200
"""A source is warned of when most of so many of its documents, in a row, came too late for any window."""

PriorOf = Callable[[SourceWindows, str, Window], Prior | None]
"""(source, lineage, window) -> the prior of the window's mask, if it is known."""


class WindowMetrics(Protocol):
    """Called when a transaction is committed."""

    def windowed(self, source: str, added: Added) -> None:
        """A document that was not simply in time."""
        ...

    def summed_up(self, summary: WindowSummary) -> None: ...


class Sealed(NamedTuple):
    """What goes into a transaction."""

    summaries: list[WindowSummary]
    states: list[WindowsState]


class Lateness:
    """Too late documents among the source's, batch by batch."""

    __slots__ = ("documents", "mostly", "too_late")

    def __init__(self) -> None:
        self.documents = 0
        self.too_late = 0
        self.mostly = False

    def count(self, too_late: bool) -> bool:
        """Whether a batch ends here that is the first, or the first again, of mostly too late documents."""
        self.documents += 1
        self.too_late += too_late
        if self.documents < TOO_LATE_OF:
            return False
        before, self.mostly = self.mostly, self.too_late * 2 > self.documents
        self.documents = self.too_late = 0
        return self.mostly and not before


class Windowing:
    """The only owner of the partition's windows. `now_ms` is the aggregator's clock: it closes the windows of silent
    sources and nothing else."""

    def __init__(self, section: WindowsSection, prior_of: PriorOf) -> None:
        self._size_ms = section.size_s * 1_000
        self._grace_ms = section.grace_s * 1_000
        self._prior_of = prior_of
        self._sources: dict[str, SourceWindows] = {}
        self._complete: dict[str, int] = {}
        self._seen_ms: dict[str, int] = {}
        self._touched: set[str] = set()
        self._corrected_ms: dict[str, int] = {}
        self._held: set[str] = set()
        """Sources with windows that are to be corrected, but not yet."""
        self._unwritten: defaultdict[str, set[str]] = defaultdict(set)
        """By source: the groups of its decisions since its state was last written."""
        self._scanned_ms = 0
        self._uncounted: list[tuple[str, Added]] = []
        self._unsaid: list[WindowSummary] = []
        self._lateness: defaultdict[str, Lateness] = defaultdict(Lateness)
        self._unwarned: list[str] = []

    def add(self, decision: Decision) -> None:
        """Count a decision, in the order of the score log."""
        source = self._sources.get(decision.source)
        if source is None:
            source = SourceWindows(decision.source, decision.group, self._size_ms, self._grace_ms)
            self._sources[decision.source] = source
        added = source.add(decision)
        self._touched.add(decision.source)
        self._unwritten[decision.source].add(decision.group)
        if any(added):
            self._uncounted.append((decision.source, added))
        if self._lateness[decision.source].count(added.too_late):
            self._unwarned.append(decision.source)

    def at_border(self, epoch_of: str, next_offset: int) -> list[WindowsState]:
        """Changed states of the sources whose thresholds move: a source, `group:g`, or `*` for all."""
        if not is_shared_name(epoch_of):
            return self._frozen({epoch_of} & self._unwritten.keys(), next_offset)
        names = [
            name
            for name, groups in self._unwritten.items()
            if epoch_of == "*" or epoch_of.removeprefix("group:") in groups
        ]
        return self._frozen(names, next_offset)

    def checkpoint(self, next_offset: int) -> list[WindowsState]:
        """All states that changed since they were last written."""
        return self._frozen(list(self._unwritten), next_offset)

    def seal(self, next_offset: int, now_ms: int, *, last: bool = False) -> Sealed:
        """What is due after a transaction's cards, or since it was held back; now and then of all sources. `last`:
        nothing is held back any longer."""
        if last:
            self._corrected_ms.clear()
        for name in self._touched:
            self._seen_ms[name] = now_ms
        scan = now_ms - self._scanned_ms >= SCAN_MS or now_ms < self._scanned_ms
        names = sorted(self._sources if scan else self._touched | self._held)
        self._touched.clear()
        if scan:
            self._scanned_ms = now_ms
        summaries: list[WindowSummary] = []
        for name in names:
            found = self._due(self._sources[name], next_offset, now_ms)
            if found:
                self._unwritten.setdefault(name, set())
                summaries += found
        self._unsaid += summaries
        return Sealed(summaries, self._frozen({summary.source for summary in summaries}, next_offset))

    def committed(self, metrics: WindowMetrics) -> None:
        """Count what the transaction held; warn of sources whose windows hold little of them."""
        for name, added in self._uncounted:
            metrics.windowed(name, added)
        for summary in self._unsaid:
            metrics.summed_up(summary)
        for name in self._unwarned:
            log.warning(
                "most documents are too late",
                source=name,
                too_late=self._sources[name].too_late,
                fix=f"they are in no window summary: raise windows.size_s ({self._size_ms // 1_000})",
            )
        self._uncounted.clear()
        self._unsaid.clear()
        self._unwarned.clear()

    # -- restart: restore, replay the cards from there, begin --

    def restore(self, states: Iterable[WindowsState]) -> None:
        """Take over the newest record of every source."""
        for state in states:
            self._sources[state.source] = thaw(state)
            self._complete[state.source] = state.next_offset

    def replay(self, decision: Decision) -> None:
        """Count a card that was committed before, unless its source's record covers it."""
        if decision.card.offset >= self._complete.get(decision.source, 0):
            self.add(decision)

    def begin(self, now_ms: int, next_offset: int) -> None:
        """Nothing that was replayed, all before `next_offset`, is counted in metrics again. Silence counts from here
        on, and another size or grace of windows."""
        self._uncounted.clear()
        self._unwarned.clear()
        self._complete.clear()
        self._touched.clear()
        self._scanned_ms = now_ms - SCAN_MS
        for name, source in self._sources.items():
            self._seen_ms[name] = now_ms
            source.resize(self._size_ms, self._grace_ms, next_offset)

    def _due(self, source: SourceWindows, next_offset: int, now_ms: int) -> list[WindowSummary]:
        silent = now_ms - self._seen_ms[source.source] >= self._grace_ms
        due = [*source.given_up, *source.due(now_ms if silent else None), *self._corrections(source, now_ms)]
        source.given_up.clear()
        return [source.summary(key, window, self._prior_of(source, key[1], window), next_offset) for key, window in due]

    def _corrections(self, source: SourceWindows, now_ms: int) -> list[tuple[Key, Window]]:
        name, found = source.source, list(source.corrected())
        self._held.discard(name)
        if not found:
            return []
        last_ms = self._corrected_ms.get(name)
        if last_ms is not None and 0 <= now_ms - last_ms < CORRECTED_MS:
            self._held.add(name)
            return []
        self._corrected_ms[name] = now_ms
        return found

    def _frozen(self, names: Iterable[str], next_offset: int) -> list[WindowsState]:
        chosen = sorted(names)
        for name in chosen:
            self._unwritten.pop(name, None)
        return [self._sources[name].freeze(next_offset) for name in chosen]


def prior_under(policies: PolicyLog) -> PriorOf:
    """Finds the prior of a window's mask, as it was published."""

    def prior_of(source: SourceWindows, lineage: str, window: Window) -> Prior | None:
        rules = policies.rules(window.group, source.source, lineage, window.policy)
        return rules.mask.prior if rules is not None and rules.mask.mask == window.mask else None

    return prior_of
