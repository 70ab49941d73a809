"""What the log says of each source: thresholds, share kept, distribution of qualities, drift, masks."""

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec

from mira_stream.messages import Epoch, Mask, Policy, SourceState
from mira_stream.observing.snapshot import QUALITY_BINS, Drifting, SourceRow, Threshold
from mira_stream.records import Record
from mira_stream.window_messages import WindowSummary

THRESHOLDS_MAX: Final = 48
"""Epochs kept of a source."""
SOURCES_MAX: Final = 2_000
"""Sources kept at all; the ones that were longest silent go first."""
SHOWN_MAX: Final = 50
CELLS: Final = 1_001
M = TypeVar("M")

_states: Final = msgspec.json.Decoder(SourceState)
_epochs: Final = msgspec.json.Decoder(Epoch)
_windows: Final = msgspec.json.Decoder(WindowSummary)
_policies: Final = msgspec.json.Decoder(Policy | Mask)


class Total(NamedTuple):
    """Documents decided so far, and the share kept of them."""

    documents: int
    kept: float


class Known:
    """One source, or a shared threshold."""

    def __init__(self) -> None:
        self.group = ""
        self.state: SourceState | None = None
        self.epoch: Epoch | None = None
        self.thresholds: deque[Threshold] = deque(maxlen=THRESHOLDS_MAX)
        self.window: WindowSummary | None = None


class Sources:
    """Feed it records of the topics epochs, windows, state and policy, each in the order of its partition."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._masks: dict[tuple[str, str], Mask] = {}

    def epoch(self, record: Record) -> None:
        epoch = _decoded(_epochs, record)
        if epoch is None:
            return
        known = self._of(epoch.epoch_of, epoch.group)
        known.epoch = epoch
        marks = (None if epoch.keep is None else epoch.keep.value, None if epoch.drop is None else epoch.drop.value)
        known.thresholds.append(
            Threshold(at_ms=record.timestamp_ms, epoch=epoch.epoch, keep=marks[0], drop=marks[1])
        )  # fmt: skip

    def window(self, record: Record) -> None:
        window = _decoded(_windows, record)
        if window is None:
            return
        known = self._of(window.source, window.group)
        before = known.window
        if before is None or (window.end_ms, window.revision) >= (before.end_ms, before.revision):
            known.window = window

    def state(self, record: Record) -> None:
        state = _decoded(_states, record)
        if state is not None:
            self._of(state.source, state.group).state = state

    def policy(self, record: Record) -> None:
        message = _decoded(_policies, record)
        if isinstance(message, Mask):
            self._masks[(message.group, message.source)] = message

    def mask(self, group: str, source: str) -> Mask | None:
        """The newest of the source, else of its whole group."""
        return self._masks.get((group, source)) or self._masks.get((group, "*"))

    def rows(self, rates: Mapping[str, float], totals: Mapping[str, Total]) -> tuple[list[SourceRow], int]:
        """The busiest sources in alphabetical order, and how many are left out. `rates`: decisions a second; `totals`:
        what aggregators say of now, for the log says it only at each epoch."""
        busiest = sorted(self._known, key=lambda name: (-rates.get(name, 0.0), -self._documents(name), name))
        shown = sorted(busiest[:SHOWN_MAX])
        rows = [_row(name, self._known[name], rates.get(name), totals.get(name)) for name in shown]
        return rows, len(busiest) - len(shown)

    def _documents(self, name: str) -> int:
        state = self._known[name].state
        return 0 if state is None else state.documents

    def _of(self, name: str, group: str) -> Known:
        known = self._known.pop(name, None) or Known()
        known.group = group
        self._known[name] = known  # behind all others: the first one was longest silent
        if len(self._known) > SOURCES_MAX:
            del self._known[next(iter(self._known))]
        return known


def _row(name: str, known: Known, rate: float | None, total: Total | None) -> SourceRow:
    state, epoch = known.state, known.epoch
    if epoch is None and state is not None:
        epoch = state.in_force
    documents, kept = (0, None) if state is None else (state.documents, _kept(state))
    as_of_epoch = None if state is None else state.epoch
    if total is not None and total.documents >= documents:
        documents, kept, as_of_epoch = total.documents, total.kept if total.documents else None, None
    return SourceRow(
        name=name,
        group=known.group,
        documents=documents,
        kept=kept,
        as_of_epoch=as_of_epoch,
        target=None if epoch is None else epoch.target,
        epoch=None if epoch is None else epoch.epoch,
        basis="" if epoch is None else epoch.basis,
        thresholds=list(known.thresholds),
        quality=[] if state is None else binned(state.cells),
        drift=None if known.window is None else _drifting(known.window),
        rate=rate,
    )


def _kept(state: SourceState) -> float | None:
    """In the unit of its target."""
    if state.unit == "tokens":
        return state.selected_tokens / state.tokens if state.tokens else None
    return state.selected_documents / state.documents if state.documents else None


def binned(cells: Mapping[str, float]) -> list[float]:
    """A sketch's cells as shares of equal bins over 0 to 100; empty without weight."""
    bins = [0.0] * QUALITY_BINS
    for cell, weight in cells.items():
        bins[min(QUALITY_BINS - 1, int(cell) * QUALITY_BINS // (CELLS - 1))] += weight
    total = sum(bins)
    return [round(weight / total, 4) for weight in bins] if total > 0 else []


def _drifting(window: WindowSummary) -> Drifting:
    drift = window.drift
    return Drifting(
        end_ms=window.end_ms,
        documents=window.documents,
        ks_d=None if drift is None else drift.ks_d,
        w1=None if drift is None else drift.w1,
        drifted=window.drifted,
    )


def _decoded(decoder: "msgspec.json.Decoder[M]", record: Record) -> M | None:
    """None for what is no such message: other kinds share the topic, and a view of the log stops at nothing."""
    try:
        return decoder.decode(record.value or b"")
    except msgspec.DecodeError:
        return None
