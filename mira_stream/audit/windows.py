"""Every window summary once more, from the decisions that the score log recomputes to.

Only when a window was summed up, and under which size and grace, is taken from `mira.windows`: the first depends on
where transactions ended and on the aggregator's clock, the second on what mira.toml said then. A source is compared up
to a change of size or grace, for the card at which that took effect is written nowhere; such sources are counted. Also
one of which nothing was summed up yet, and which the aggregator's own state counts under another size or grace than
mira.toml says by now; and where neither a summary of the partition nor a state of the source says which it has.
A correction may be held back for a few seconds, so one that is not there is counted, too, unless the aggregator's own
state says that it was written.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import msgspec

from mira_stream.audit.ahead import Ahead
from mira_stream.audit.layouts import Layout, Layouts, of_summary
from mira_stream.audit.result import Findings
from mira_stream.messages import Decision, decoder, encode
from mira_stream.records import Record
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.restore import WINDOWS_KEY
from mira_stream.selecting.windowing import prior_under
from mira_stream.window_messages import WindowsState, WindowSummary
from mira_stream.windows import Key, SourceWindows, Window

_decoder: Final = decoder(WindowSummary)
_state_decoder: Final = decoder(WindowsState)
States = Mapping[str, WindowsState]
"""source -> the aggregator's newest own state of its windows."""


class WrittenWindows:
    """The windows of one partition recomputed in step with the cards, and what was written of them."""

    def __init__(
        self,
        records: AsyncIterator[Record],
        layouts: Layouts,
        policies: PolicyLog,
        findings: Findings,
    ) -> None:
        self._ahead = Ahead(records, _decoder, findings, "window_unreadable")
        self._layouts = layouts
        self._prior_of = prior_under(policies)
        self._findings = findings
        self._sources: dict[str, SourceWindows] = {}
        self.compared = 0
        self.waiting = 0
        self.changed: set[str] = set()
        self._resized: dict[str, tuple[str, str, int]] = {}
        """By source the last summary that says so: where it stands, its name, from which card on."""

    def add(self, decision: Decision) -> None:
        """The next decision of the score log."""
        if decision.source in self.changed:
            return
        layout = self._layouts.at(decision.card.offset)
        source = self._sources.get(decision.source)
        if layout is None or (source is not None and layout != _layout(source)):
            self._stop(decision.source)
            return
        if source is None:
            source = self._sources[decision.source] = SourceWindows(decision.source, decision.group, *layout)
        source.add(decision)

    async def until(self, next_offset: int) -> None:
        """Compare the summaries that say they are complete up to there, or less."""
        while (found := await self._ahead.peek()) is not None and found[1].next_offset <= next_offset:
            self._ahead.take()
            self._compare(*found)

    def finish(self, where: str, states: States) -> None:
        """All transactions are over: nothing may be due any more but corrections. `where` names the partition."""
        for name, (at, named, card) in sorted(self._resized.items()):
            state = states.get(name)
            if state is not None and state.resized_at < card:  # it is written with every summary
                detail = (
                    f"{named}: says that its size and grace hold from card {card} on, and the state knows nothing of it"
                )
                self._findings.add("window_differs", at, detail)
        for name, source in sorted(self._sources.items()):
            state = states.get(name)
            if state is not None and (state.resized_at or (state.size_ms, state.grace_ms) != _layout(source)):
                self.changed.add(name)  # mira.toml was changed; where it differs, no aggregator has worked by it yet
                continue
            revisions = _revisions(state)
            waiting = list(source.corrected())
            lost = [(key, window) for key, window in waiting if revisions.get(key, 0) > window.revision]
            self.waiting += len(waiting) - len(lost)
            missing = (*source.given_up, *source.due(), *lost)
            if missing and state is None and not self._layouts.is_told:
                self.changed.add(name)  # an aggregator may count it under what mira.toml said before
                continue
            for (start, lineage), window in missing:
                detail = f"window {start} of {name}, lineage {lineage}: no summary has its {window.documents} documents"
                self._findings.add("window_missing", where, f"{detail} after revision {window.revision}")

    def _compare(self, record: Record, written: WindowSummary) -> None:
        where = f"{record.topic}/{record.partition}@{record.offset}"
        named = f"window {written.start_ms} of {written.source}, revision {written.revision}"
        if written.resized_at:
            self._resized[written.source] = where, named, written.resized_at
        if self._has_changed(written):
            return
        found = self._find(written)
        if found is None:
            self._findings.add("window_extra", where, f"{named}: the score log has nothing new for it")
            return
        source, key, window = found
        prior = self._prior_of(source, key[1], window)
        expected = encode(source.summary(key, window, prior, written.next_offset))
        self.compared += 1
        if (record.value, record.key) != (expected, written.source.encode()):
            self._findings.add("window_differs", where, f"{named}: recomputed {expected.decode()}")

    def _has_changed(self, written: WindowSummary) -> bool:
        """Whether the source is not compared any more: from its first summary under another layout on."""
        source, layout = self._sources.get(written.source), of_summary(written)
        if written.resized_at or (source is not None and layout in self._layouts and layout != _layout(source)):
            self._stop(written.source)
        return written.source in self.changed

    def _stop(self, name: str) -> None:
        self.changed.add(name)
        self._sources.pop(name, None)

    def _find(self, written: WindowSummary) -> tuple[SourceWindows, Key, Window] | None:
        """The window as it was when that was written, if anything in it was new."""
        source, key = self._sources.get(written.source), (written.start_ms, written.lineage)
        if source is None:
            return None
        for at, (given_up, window) in enumerate(source.given_up):
            if given_up == key:
                del source.given_up[at]
                return source, key, window
        kept = source.windows.get(key)
        return (source, key, kept) if kept is not None and kept.stale else None


def _layout(source: SourceWindows) -> Layout:
    return Layout(source.size_ms, source.grace_ms)


async def read_layouts(records: AsyncIterator[Record], project: Layout) -> Layouts:
    """The layouts of a partition of `mira.windows`, read to its end. `project`: the one of mira.toml."""
    told: list[tuple[int, Layout]] = []
    async for record in records:
        try:
            summary = _decoder.decode(record.value or b"")
        except msgspec.DecodeError:
            continue  # a finding of its own
        told.append((summary.next_offset, of_summary(summary)))
    return Layouts(told, project)


async def read_states(records: AsyncIterator[Record], end: int) -> States:
    """The newest of a partition of `mira.state` that know no card from `end` on."""
    newest: dict[str, WindowsState] = {}
    async for record in records:
        if not (record.key or b"").startswith(WINDOWS_KEY):
            continue
        try:
            state = _state_decoder.decode(record.value or b"")
        except msgspec.DecodeError:
            continue  # no restart passes over it
        if state.next_offset <= end:
            newest[state.source] = state
    return newest


def _revisions(state: WindowsState | None) -> dict[Key, int]:
    """Up to which revision the aggregator has summed up each window, by its own state."""
    return {} if state is None else {(window.start_ms, window.lineage): window.revision for window in state.windows}
