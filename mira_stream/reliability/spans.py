"""The labels of one unit, span by span, and the windows they make. Pure; its only state is the labels themselves."""

from array import array
from bisect import insort
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from mira_stream.label_messages import TeacherLabel
from mira_stream.messages import DIMENSIONS, SLOTS
from mira_stream.reliability.windows import CellWindow, Floats, cell_window
from mira_stream.sections import MaskLimits

_WIDTH: Final = 2 * DIMENSIONS + 2
"""Numbers a label: teacher, student, weight, and the slots that made its quality as bits of one number."""
_NONE: Final = float("nan")


class Window(NamedTuple):
    """Spans `first_span` to `last_span` of a unit: its cells, and which of them any quality was made of."""

    first_span: int
    last_span: int
    n: int
    cells: tuple[CellWindow, ...]
    used: tuple[bool, ...]


class Spans:
    """Labels as rows of 4-byte floats: 128 bytes each, so that a month of them fits into memory."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        """The spans that hold labels, ascending."""
        self._rows: dict[int, array[float]] = {}
        self._known: dict[tuple[int, int, int], Window] = {}

    def add(self, span: int, label: TeacherLabel) -> None:
        assert label.scores is not None, "a label without scores measures nothing"
        if span not in self._rows:
            insort(self.numbers, span)
            self._rows[span] = array("f")
        self._rows[span].extend(_row(label))

    def count(self, span: int) -> int:
        return len(self._rows[span]) // _WIDTH

    def windows(self, end: int, labels_min: int, limits: MaskLimits) -> list[Window]:
        """All windows of spans before `end`, oldest first. What is left over waits for more labels."""
        found = []
        open_spans: list[int] = []
        n = 0
        for span in self.numbers:
            if span >= end:
                break
            open_spans.append(span)
            n += self.count(span)
            if n >= labels_min:
                found.append(self._window(open_spans, n, labels_min, limits))
                open_spans, n = [], 0
        self._known = {(window.first_span, window.last_span, window.n): window for window in found}
        return found

    def _window(self, spans: list[int], n: int, labels_min: int, limits: MaskLimits) -> Window:
        """Spans only ever grow: their ends and the number of labels say which window it is."""
        name = (spans[0], spans[-1], n)
        if name not in self._known:
            rows = np.concatenate([np.frombuffer(self._rows[span], np.float32) for span in spans])
            self._known[name] = _measured(rows.astype(np.float64).reshape(n, _WIDTH), name, labels_min, limits)
        return self._known[name]


def _measured(rows: Floats, name: tuple[int, int, int], labels_min: int, limits: MaskLimits) -> Window:
    rows = rows[np.lexsort(rows.T)]  # sums of floats depend on their order; the order of reading must not matter
    teacher, student = rows[:, :DIMENSIONS], rows[:, DIMENSIONS : 2 * DIMENSIONS]
    bits = int(np.bitwise_or.reduce(rows[:, -1].astype(np.int64)))
    cell = partial(cell_window, weights=rows[:, -2], limits=limits, n_min=labels_min)
    cells = tuple(cell(teacher[:, slot], student[:, slot]) for slot in range(DIMENSIONS))
    return Window(*name, cells, tuple(bool(bits >> slot & 1) for slot in range(DIMENSIONS)))


def _row(label: TeacherLabel) -> list[float]:
    assert label.scores is not None
    scores = [_NONE if score is None else score for score in (*label.scores, *label.student_scores)]
    used = sum(1 << slot for slot, name in enumerate(SLOTS) if name in label.dimensions_used)
    return [*scores, 1.0 / label.inclusion.total, float(used)]
