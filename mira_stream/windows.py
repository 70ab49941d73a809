"""Event-time windows of one source: tumbling, closed by a watermark, corrected when documents come late. Pure.

    event time   the document's, else the time it was ingested; also if it is more than 5 minutes ahead of that
    dated        the event time is the document's own
    watermark    the source's largest event time - grace; of dated documents only, from the source's first one on
    closed       watermark >= end, or the source is silent and now >= end + grace
    late         the document's window was closed when it came
    too late     its window is not kept any more: counted for the source, in no summary

Which window a document belongs to, and which windows are kept, follows from the cards alone; only when a window is
summed up depends on the clock and on where transactions end.
"""

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mira_stream.messages import DIMENSIONS, Decision, Prior
from mira_stream.sections import WINDOWS_MAX
from mira_stream.window_messages import Drift, KeptWindow, WindowQuality, WindowsState, WindowSummary

AHEAD_MS: Final = 300_000
"""An event time further ahead of the ingest time than this is not believed."""
DRIFT_DOCUMENTS_MIN: Final = 100
"""Fewer documents say nothing about drift."""
DRIFT_KS_D: Final = 0.1
DRIFT_W1: Final = 2.0
"""Quality points."""
NOISE_KS: Final = 1.63
"""Kolmogorov-Smirnov's two-sample bound at 1 %: what chance reaches is 1.63 x sqrt(1/n + 1/m)."""

_CELLS: Final = 1_001
_SHARES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
Key = tuple[int, str]
"""(start in ms, lineage): windows of a source in the order in which they are given up."""


class EventTime(NamedTuple):
    """When a document happened, in ms; `ahead`: what it claimed was not believed; `dated`: the time is its own."""

    ms: int
    ahead: bool
    dated: bool


class Added(NamedTuple):
    """What one decision was to the windows of its source."""

    ahead: bool
    late: bool
    too_late: bool


def event_time(decision: Decision) -> EventTime:
    """0 is a time that nobody gave; the scorer writes the time of ingest where the document has none."""
    ingested = decision.origin.timestamp_ms
    ahead = decision.event_time_ms > ingested + AHEAD_MS
    dated = not ahead and decision.event_time_ms not in (0, ingested)
    return EventTime(decision.event_time_ms if dated else ingested, ahead, dated)


class Window:
    """Counters of one (source, lineage, start). `stale`: something was counted since the last summary."""

    __slots__ = (
        "agreed",
        "cells",
        "end_ms",
        "group",
        "late",
        "mask",
        "null_counts",
        "policy",
        "recommended",
        "revision",
        "score_sums",
        "selected_documents",
        "selected_tokens",
        "stale",
        "tokens",
        "verdicts",
    )

    def __init__(self, mask: str, end_ms: int) -> None:
        self.end_ms = end_ms
        self.revision = 0
        self.stale = False
        self.mask: str | None = mask
        self.policy = -1
        self.group = ""
        self.cells: NDArray[np.uint32] = np.zeros(_CELLS, dtype=np.uint32)
        self.tokens = 0
        self.verdicts = {"keep": 0, "downsample": 0, "drop": 0}
        self.selected_documents = 0
        self.selected_tokens = 0
        self.score_sums = [0.0] * DIMENSIONS
        self.null_counts = [0] * DIMENSIONS
        self.recommended = 0
        self.agreed = 0
        self.late = 0

    @property
    def documents(self) -> int:
        return sum(self.verdicts.values())

    def count(self, decision: Decision, late: bool) -> None:
        """Qualities under two masks have no common scale: then the window has no mask, and no drift."""
        if decision.mask != self.mask:
            self.mask = None
        self.policy = decision.policy
        self.group = decision.group
        self.cells[round(decision.quality * 10)] += 1
        self.tokens += decision.tokens
        self.verdicts[decision.decision] += 1
        if decision.selected:
            self.selected_documents += 1
            self.selected_tokens += decision.tokens
        for at, score in enumerate(decision.scores):
            if score is None:
                self.null_counts[at] += 1
            else:
                self.score_sums[at] += score
        if decision.recommendation is not None:
            self.recommended += 1
            self.agreed += decision.recommendation == decision.decision
        self.late += late
        self.stale = True


class SourceWindows:
    """The windows of one source, under all its lineages. `group`: of its newest decision. `largest_ms`: its largest
    event time, None before the first; once `dated`, that of its dated documents: a document without a time must not
    move the clock of those that have one.
    `horizon_ms`: windows that begin before it are not opened any more; `too_late`: documents that would have been
    in one. `size_ms` and `grace_ms` in ms; `resized_at`: the offset of the card from which on they hold, 0: of all."""

    def __init__(self, source: str, group: str, size_ms: int, grace_ms: int) -> None:
        self.source = source
        self.group = group
        self.size_ms = size_ms
        self.grace_ms = grace_ms
        self.resized_at = 0
        self.largest_ms: int | None = None
        self.dated = False
        self.horizon_ms: int | None = None
        self.too_late = 0
        self.windows: dict[Key, Window] = {}
        self.given_up: list[tuple[Key, Window]] = []
        """Not kept any more, but not summed up yet. Whoever sums them up clears the list."""

    def add(self, decision: Decision) -> Added:
        """Count a decided document; may give up the window with the earliest start."""
        time = event_time(decision)
        start = time.ms // self.size_ms * self.size_ms
        key = (start, decision.lineage)
        window = self.windows.get(key)
        if window is None:
            if self.horizon_ms is not None and start < self.horizon_ms:
                self.too_late += 1
                return Added(time.ahead, late=True, too_late=True)
            window = self.windows[key] = Window(decision.mask, start + self.size_ms)
        if time.dated and not self.dated:
            self.dated, self.largest_ms = True, None
        self.group = decision.group
        late = window.revision > 0 or self._is_past(window)
        window.count(decision, late)
        if time.dated == self.dated and (self.largest_ms is None or time.ms > self.largest_ms):
            self.largest_ms = time.ms
        if len(self.windows) > WINDOWS_MAX:
            self._give_up(min(self.windows))
        return Added(time.ahead, late, too_late=False)

    def due(self, now_ms: int | None = None) -> Iterator[tuple[Key, Window]]:
        """Closed windows that were never summed up, by start. `now_ms`: the clock, if the source is silent; None
        leaves it out."""
        for key in sorted(self.windows):
            window = self.windows[key]
            silent = now_ms is not None and window.end_ms + self.grace_ms <= now_ms
            if window.revision == 0 and (self._is_past(window) or silent):
                yield key, window

    def corrected(self) -> Iterator[tuple[Key, Window]]:
        """Windows that changed since they were last summed up, by start."""
        for key in sorted(self.windows):
            window = self.windows[key]
            if window.stale and window.revision > 0:
                yield key, window

    def resize(self, size_ms: int, grace_ms: int, next_offset: int) -> None:
        """Go on with windows of another size or grace, from the card at `next_offset` on: none that overlaps one from
        before is ever opened."""
        if (size_ms, grace_ms) != (self.size_ms, self.grace_ms):
            self.resized_at = next_offset
        self.grace_ms = grace_ms
        if size_ms == self.size_ms:
            return
        while self.windows:
            self._give_up(min(self.windows))
        self.size_ms = size_ms

    def summary(self, key: Key, window: Window, prior: Prior | None, next_offset: int) -> WindowSummary:
        """The next revision of a window, complete up to `next_offset`. The window counts as summed up from now on."""
        window.revision += 1
        window.stale = False
        documents = window.documents
        drift = _drift(window, prior)
        means = [
            round(total / (documents - nulls), 4) if documents > nulls else None
            for total, nulls in zip(window.score_sums, window.null_counts, strict=True)
        ]
        return WindowSummary(
            source=self.source,
            group=window.group,
            lineage=key[1],
            start_ms=key[0],
            end_ms=window.end_ms,
            revision=window.revision,
            documents=documents,
            tokens=window.tokens,
            **window.verdicts,
            selected_documents=window.selected_documents,
            selected_tokens=window.selected_tokens,
            quality=_quality(window.cells),
            dimension_means=means,
            null_counts=list(window.null_counts),
            recommendation_agreement=round(window.agreed / window.recommended, 4) if window.recommended else None,
            drift=drift,
            late=window.late,
            drifted=is_drifted(drift, documents, 0 if prior is None else prior.documents),
            mask=window.mask,
            too_late=self.too_late,
            grace_ms=self.grace_ms,
            resized_at=self.resized_at,
            next_offset=next_offset,
        )

    def freeze(self, next_offset: int) -> WindowsState:
        """The record that `thaw` makes the same windows of; complete up to `next_offset`."""
        return WindowsState(
            source=self.source,
            group=self.group,
            next_offset=next_offset,
            size_ms=self.size_ms,
            grace_ms=self.grace_ms,
            largest_ms=self.largest_ms,
            dated=self.dated,
            horizon_ms=self.horizon_ms,
            too_late=self.too_late,
            resized_at=self.resized_at,
            windows=[_kept(key, self.windows[key]) for key in sorted(self.windows)],
        )

    def _is_past(self, window: Window) -> bool:
        return self.largest_ms is not None and window.end_ms <= self.largest_ms - self.grace_ms

    def _give_up(self, key: Key) -> None:
        window = self.windows.pop(key)
        self.horizon_ms = window.end_ms if self.horizon_ms is None else max(self.horizon_ms, window.end_ms)
        if window.stale:
            self.given_up.append((key, window))


def thaw(state: WindowsState) -> SourceWindows:
    """The windows as they were when the record was written."""
    source = SourceWindows(state.source, state.group, state.size_ms, state.grace_ms)
    source.largest_ms = state.largest_ms
    source.dated = state.dated
    source.horizon_ms = state.horizon_ms
    source.too_late = state.too_late
    source.resized_at = state.resized_at
    for kept in state.windows:
        window = source.windows[kept.start_ms, kept.lineage] = Window("", kept.start_ms + state.size_ms)
        window.revision = kept.revision
        window.stale = kept.stale
        window.mask = kept.mask
        window.policy = kept.policy
        window.group = kept.group or state.group
        window.cells[kept.cells[::2]] = kept.cells[1::2]
        window.tokens = kept.tokens
        window.verdicts = {"keep": kept.keep, "downsample": kept.downsample, "drop": kept.drop}
        window.selected_documents = kept.selected_documents
        window.selected_tokens = kept.selected_tokens
        window.score_sums = list(kept.score_sums)
        window.null_counts = list(kept.null_counts)
        window.recommended = kept.recommended
        window.agreed = kept.agreed
        window.late = kept.late
    return source


def is_drifted(drift: Drift | None, documents: int, prior_documents: int) -> bool:
    """An effect that matters and that chance does not reach with so few documents on either side."""
    if drift is None or documents == 0 or prior_documents == 0:
        return False
    noise = NOISE_KS * sqrt(1 / documents + 1 / prior_documents)
    return (drift.ks_d > DRIFT_KS_D or drift.w1 > DRIFT_W1) and drift.ks_d > noise


def _kept(key: Key, window: Window) -> KeptWindow:
    cells: list[int] = []
    for cell in np.flatnonzero(window.cells).tolist():
        cells += (cell, int(window.cells[cell]))
    return KeptWindow(
        start_ms=key[0],
        lineage=key[1],
        revision=window.revision,
        stale=window.stale,
        mask=window.mask,
        policy=window.policy,
        group=window.group,
        cells=cells,
        tokens=window.tokens,
        **window.verdicts,
        selected_documents=window.selected_documents,
        selected_tokens=window.selected_tokens,
        score_sums=list(window.score_sums),
        null_counts=list(window.null_counts),
        recommended=window.recommended,
        agreed=window.agreed,
        late=window.late,
    )


def _quality(cells: NDArray[np.uint32]) -> WindowQuality:
    """Mean, and the smallest qualities that at least such a share of the documents does not exceed."""
    below = np.cumsum(cells, dtype=np.int64)
    documents = int(below[-1])
    total = int(np.dot(cells.astype(np.int64), np.arange(_CELLS)))
    p05, p25, p50, p75, p95 = (int(np.searchsorted(below, share * documents)) / 10 for share in _SHARES)
    return WindowQuality(mean=round(total / documents / 10, 4), p05=p05, p25=p25, p50=p50, p75=p75, p95=p95)


def _drift(window: Window, prior: Prior | None) -> Drift | None:
    """Kolmogorov-Smirnov distance and Wasserstein-1 distance (quality points) of window and prior."""
    if prior is None or not prior.cells or window.mask is None or window.documents < DRIFT_DOCUMENTS_MIN:
        return None
    apart = np.abs(_shares(window.cells.astype(np.float64)) - _shares(_array(prior.cells)))
    return Drift(ks_d=round(float(apart.max()), 4), w1=round(float(np.cumsum(apart)[-1]) / 10, 4))


def _shares(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the weight that is not above each cell."""
    below: NDArray[np.float64] = np.cumsum(cells)
    return below / float(below[-1])


def _array(cells: Mapping[str, float]) -> NDArray[np.float64]:
    array = np.zeros(_CELLS)
    for cell, weight in cells.items():
        array[int(cell)] = weight
    return array
