"""Under which window size and grace the aggregator worked when, as the summaries of a partition tell it. Pure.

mira.toml says only what holds now. A size or grace that a single summary has, between others that agree, was never
anybody's setting: such a summary is compared under the layout of its neighbours, and differs. But for a window that was
given up at a change: it has the size of before and the grace of then, and stands in the first transaction under that.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from mira_stream.sections import WindowsSection
from mira_stream.window_messages import WindowSummary


class Layout(NamedTuple):
    """Window size and grace in ms."""

    size_ms: int
    grace_ms: int


class Run(NamedTuple):
    """Summaries in a row under one layout: how many, and the first, the second largest and the largest of their
    `next_offset`s."""

    layout: Layout
    summaries: int
    first: int
    before: int
    end: int


def of_project(section: WindowsSection) -> Layout:
    return Layout(section.size_s * 1_000, section.grace_s * 1_000)


def of_summary(summary: WindowSummary) -> Layout:
    return Layout(summary.end_ms - summary.start_ms, summary.grace_ms)


class Layouts:
    """The layouts of one partition. `told`: (next_offset, layout) of each summary, in log order."""

    def __init__(self, told: Iterable[tuple[int, Layout]], project: Layout) -> None:
        self._project = project
        runs: list[Run] = []
        self._known: set[Layout] = set()
        for next_offset, layout in told:
            self._end_stray(runs, layout)
            _extend(runs, Run(layout, 1, next_offset, 0, next_offset))
        self._end_stray(runs, project)
        self._runs = runs
        self._ends: list[int] = []
        for run, following in zip(runs, [*(run.layout for run in runs[1:]), project], strict=False):
            self._ends.append(max([run.before if _gives_up(run.layout, following) else run.end, *self._ends[-1:]]))
        self._known |= {run.layout for run in runs}

    def _end_stray(self, runs: list[Run], following: Layout) -> None:
        """Take the last run away, if it is one summary that may not stand for itself."""
        if _is_stray(runs, following):
            stray = runs.pop()
            if _is_given_up(runs, stray):
                self._known.add(stray.layout)

    @property
    def is_told(self) -> bool:
        """Whether there is any summary: else all that is known is what mira.toml says now."""
        return bool(self._runs)

    def __contains__(self, layout: Layout) -> bool:
        """Somebody has configured it."""
        return layout in self._known

    def at(self, offset: int) -> Layout | None:
        """The layout the card at `offset` was counted under; None if it may be the one before or after a change."""
        after = bisect_right(self._ends, offset)
        if after == len(self._runs):
            return self._project if not self._runs or self._runs[-1].layout == self._project else None
        run = self._runs[after]
        return run.layout if after == 0 or run.first <= offset else None


def _extend(runs: list[Run], new: Run) -> None:
    """Append a run; one that goes on where the last left off becomes one with it."""
    if runs and runs[-1].layout == new.layout:
        last = runs.pop()
        before = last.end if new.end > last.end else last.before
        new = Run(new.layout, last.summaries + 1, last.first, before, max(last.end, new.end))
    runs.append(new)


def _gives_up(layout: Layout, following: Layout) -> bool:
    """Whether the last transaction under the old layout may be the first after the change: what was given up has the
    old size and the new grace."""
    return layout.size_ms != following.size_ms and layout.grace_ms == following.grace_ms


def _is_stray(runs: list[Run], following: Layout) -> bool:
    """Whether the last run is one summary unlike those on either side, which agree."""
    return len(runs) > 1 and runs[-1].summaries == 1 and runs[-1].layout != following and runs[-2].layout == following


def _is_given_up(runs: list[Run], stray: Run) -> bool:
    """Whether the summary behind these runs is of the first transaction after a change, and of a window of before."""
    if len(runs) < 2 or stray.first != runs[-1].first:
        return False
    return stray.layout == Layout(runs[-2].layout.size_ms, runs[-1].layout.grace_ms)
