"""Watches cells while a stream runs: which of them the teacher's labels contradict, and since when. Pure.

A unit is (source, lineage, mask, teacher); nothing is compared across units. Labels are laid into spans of `span_ms` by
the time their document was decided on: a corpus may enter the log within one span and be judged for days. A window is
as many whole spans, one after the other, as it takes to hold `labels_min` labels. What comes out depends on the set of
labels and on `now_ms` alone, not on the order in which they were read: a watch that is started again finds what the old
one knew.

At the end of each span every cell whose window closed is looked at once. A cell that the mask uses is tested against
`unreliable`, one that it leaves out against `reliable`. The evidence is that of its newest three windows: the second
smallest p-value, so that two of them must speak; of three independent uniform numbers it is under q with probability
3 q^2 - 2 q^3 (of two, q^2). Holm (1979) over all cells of all watched sources, at `level`, raises the alarm. An alarm
is cleared by two of the three newest windows since then whose 90 % bounds say the contrary. Between both it stands.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from mira_stream.label_messages import TeacherLabel
from mira_stream.messages import DIMENSIONS, SLOTS
from mira_stream.reliability.spans import Spans, Window
from mira_stream.reliability.windows import CONFIDENCE, CellWindow
from mira_stream.sections import MaskLimits

Alarm = Literal["unreliable", "reliable"]
LABELS_MIN: Final = 100
LEVEL: Final = 0.05
"""Of a false alarm in any cell, each time windows close, even if every cell lies exactly at its limits."""
WINDOWS: Final = 3
NEEDED: Final = 2
HOUR_MS: Final = 3_600_000


class Unit(NamedTuple):
    """What one meaning of a source's scores is kept under."""

    source: str
    lineage: str
    mask: str
    teacher: str


class CellStatus(NamedTuple):
    """A cell as it stands: `window` is its newest closed one; `since_ms` the end of the window that raised `alarm`."""

    unit: Unit
    group: str
    slot: str
    used: bool
    window: CellWindow
    alarm: Alarm | None
    since_ms: int | None


class Event(NamedTuple):
    """An alarm that was raised or cleared at the end of a span."""

    at_ms: int
    unit: Unit
    slot: str
    alarm: Alarm
    raised: bool


class Status(NamedTuple):
    """`cells` of the newest unit of each source; `events` of all units, oldest first."""

    cells: list[CellStatus]
    events: list[Event]

    @property
    def alarms(self) -> list[CellStatus]:
        return [cell for cell in self.cells if cell.alarm is not None]


class _Cell:
    """The state of one cell while the spans are gone through."""

    def __init__(self) -> None:
        self.windows: list[CellWindow] = []
        self.alarm: Alarm | None = None
        self.since_ms: int | None = None

    def turn(self, alarm: Alarm | None, at_ms: int) -> None:
        """Evidence counts once: after a turn new windows are needed."""
        self.alarm, self.since_ms = alarm, at_ms if alarm else None
        self.windows.clear()


class Monitor:
    """Takes labels in any order and says how all cells stand at a time."""

    def __init__(
        self, limits: MaskLimits, span_ms: int = HOUR_MS, labels_min: int = LABELS_MIN, level: float = LEVEL
    ) -> None:
        self._limits = limits
        self._span_ms = span_ms
        self._labels_min = labels_min
        self._level = level
        self._units: dict[Unit, Spans] = {}
        self._groups: dict[Unit, str] = {}
        self._looked: tuple[int, Status] | None = None
        self.newest_ms = 0

    def add(self, label: TeacherLabel) -> None:
        """Take one label in. One without scores measures nothing."""
        if label.scores is None:
            return
        at_ms = label.decided_ms or label.origin.timestamp_ms
        self.newest_ms = max(self.newest_ms, at_ms)
        unit = Unit(label.source, label.lineage, label.mask, label.teacher)
        if unit not in self._units:
            self._units[unit] = Spans()
            self._groups[unit] = label.group
        span = at_ms // self._span_ms
        self._units[unit].add(span, label)
        if self._looked is not None and span < self._looked[0]:
            self._looked = None

    def look(self, now_ms: int) -> Status:
        """How everything stands when all spans that ended before `now_ms` are closed."""
        end = now_ms // self._span_ms
        if self._looked is None or self._looked[0] != end:
            self._looked = (end, self._status(end))
        return self._looked[1]

    def _status(self, end: int) -> Status:
        closing: dict[int, list[tuple[Unit, Window]]] = {}
        for unit in sorted(self._units):
            for window in self._units[unit].windows(end, self._labels_min, self._limits):
                closing.setdefault(window.last_span, []).append((unit, window))
        cells: dict[tuple[Unit, int], _Cell] = {}
        newest: dict[Unit, Window] = {}
        events: list[Event] = []
        for span in sorted(closing):
            at_ms = (span + 1) * self._span_ms
            active = set(self._active(span))
            for unit, window in closing[span]:
                newest[unit] = window
                for slot in range(DIMENSIONS):
                    cell = cells.setdefault((unit, slot), _Cell())
                    cell.windows = [*cell.windows, window.cells[slot]][-WINDOWS:]
            closed = {unit: window for unit, window in closing[span] if unit in active}
            events += _clear(closed, cells, at_ms)
            events += _raise(closed, cells, at_ms, self._level, DIMENSIONS * len(active))
        return Status(list(self._cells(end, cells, newest)), events)

    def _active(self, span: int) -> Iterator[Unit]:
        """Of each source, the unit whose labels up to this span are the newest."""
        last: dict[str, tuple[int, Unit]] = {}
        for unit, spans in self._units.items():
            at = bisect_right(spans.numbers, span)
            if at:
                found = (spans.numbers[at - 1], unit)
                last[unit.source] = max(last.get(unit.source, found), found)
        return (unit for _, unit in last.values())

    def _cells(
        self, end: int, cells: Mapping[tuple[Unit, int], _Cell], newest: Mapping[Unit, Window]
    ) -> Iterator[CellStatus]:
        for unit in sorted(self._active(end)):
            window = newest.get(unit)
            if window is None:
                continue
            for slot, name in enumerate(SLOTS):
                cell = cells[unit, slot]
                found, used = window.cells[slot], window.used[slot]
                yield CellStatus(unit, self._groups[unit], name, used, found, cell.alarm, cell.since_ms)


def evidence(p_values: Sequence[float]) -> float:
    """How likely the second smallest of these (at most three) is so small by chance; 1 with fewer than two."""
    if len(p_values) < NEEDED:
        return 1.0
    q = sorted(p_values)[NEEDED - 1]
    return q**2 if len(p_values) == NEEDED else 3 * q**2 - 2 * q**3


def holm(p_values: Sequence[float], level: float, tests: int) -> list[bool]:
    """Which hypotheses are rejected at family-wise `level`; `tests` counts those, too, that have no p-value here."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: (p_values[index], index))):
        if p_values[index] > level / (tests - rank):
            break
        rejected[index] = True
    return rejected


def _raise(
    closed: Mapping[Unit, Window], cells: Mapping[tuple[Unit, int], _Cell], at_ms: int, level: float, tests: int
) -> list[Event]:
    quiet = [key for key in _keys(closed) if cells[key].alarm is None]
    found = [evidence(_p_values(cells[key].windows, _against(closed, key))) for key in quiet]
    events = []
    for key, rejected in zip(quiet, holm(found, level, tests), strict=True):
        if rejected:
            alarm = _against(closed, key)
            cells[key].turn(alarm, at_ms)
            events.append(Event(at_ms, key[0], SLOTS[key[1]], alarm, True))
    return events


def _clear(closed: Mapping[Unit, Window], cells: Mapping[tuple[Unit, int], _Cell], at_ms: int) -> list[Event]:
    events = []
    for key in _keys(closed):
        cell = cells[key]
        if cell.alarm is None:
            continue
        contrary: Alarm = "reliable" if cell.alarm == "unreliable" else "unreliable"
        if sum(p <= 1 - CONFIDENCE for p in _p_values(cell.windows, contrary)) >= NEEDED:
            events.append(Event(at_ms, key[0], SLOTS[key[1]], cell.alarm, False))
            cell.turn(None, at_ms)
    return events


def _keys(closed: Mapping[Unit, Window]) -> list[tuple[Unit, int]]:
    return [(unit, slot) for unit in closed for slot in range(DIMENSIONS)]


def _against(closed: Mapping[Unit, Window], key: tuple[Unit, int]) -> Alarm:
    """What would contradict the mask."""
    return "unreliable" if closed[key[0]].used[key[1]] else "reliable"


def _p_values(windows: Sequence[CellWindow], said: Alarm) -> list[float]:
    return [window.p_unreliable if said == "unreliable" else window.p_reliable for window in windows]
