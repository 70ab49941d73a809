"""Coordinates of the small charts of the reliability report. Pure; the template draws them in the page's colours.

A chart is WIDTH x HEIGHT with the scores 0 to 10 from left to right.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from mira_stream.messages import SLOTS
from mira_stream.reliability.bootstrap import Floats
from mira_stream.reliability.measure import Measured

WIDTH: Final = 150.0
HEIGHT: Final = 110.0
SCORES: Final = 11
POINT_DOCUMENTS: Final = 3
"""A point of a curve stands for so many documents at least."""


class Point(NamedTuple):
    """The mean student score where the teacher gave `teacher`; x and y on the chart."""

    x: float
    y: float
    teacher: int
    student: float
    documents: int


class Curve(NamedTuple):
    """One source's calibration; `style` numbers colour, dash and marker together."""

    source: str
    style: int
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


class Bar(NamedTuple):
    """Documents with this (rounded) score: the student's as a bar, the teacher's as a line over it."""

    score: int
    x: float
    width: float
    student_y: float
    teacher_y: float
    student: int
    teacher: int


class Charts(NamedTuple):
    """Of one dimension."""

    slot: str
    curves: tuple[Curve, ...]
    bars: tuple[Bar, ...]


def charts(rows: Sequence[Measured], sources: Sequence[str]) -> list[Charts]:
    """One pair of charts a dimension, in slot order. Needs a row."""
    teacher = np.array([row.scores for row in rows], np.float64)
    student = np.array([row.student_scores for row in rows], np.float64)
    of_source = {name: np.array([row.source == name for row in rows]) for name in sources}
    return [
        Charts(
            slot,
            tuple(
                Curve(name, number, _points(teacher[mine, i], student[mine, i]))
                for number, (name, mine) in enumerate(of_source.items())
            ),
            _bars(teacher[:, i], student[:, i]),
        )
        for i, slot in enumerate(SLOTS)
    ]


def _points(teacher: Floats, student: Floats) -> tuple[Point, ...]:
    found = []
    rounded = np.rint(teacher).astype(int)
    for score in np.unique(rounded).tolist():
        given = student[rounded == score]
        if len(given) >= POINT_DOCUMENTS:
            mean = float(given.mean())
            found.append(Point(WIDTH * score / 10, HEIGHT * (1 - mean / 10), score, mean, len(given)))
    return tuple(found)


def _bars(teacher: Floats, student: Floats) -> tuple[Bar, ...]:
    wanted, given = (np.bincount(np.rint(side).astype(int), minlength=SCORES) for side in (teacher, student))
    most = max(wanted.max(), given.max())
    width = WIDTH / SCORES
    return tuple(
        Bar(
            score,
            width * score,
            width,
            HEIGHT * (1 - float(given[score]) / most),
            HEIGHT * (1 - float(wanted[score]) / most),
            int(given[score]),
            int(wanted[score]),
        )
        for score in range(SCORES)
    )
