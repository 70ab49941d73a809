"""One view of all steps: a table that redraws itself on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Final, NamedTuple, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from mira_stream.pipeline.steps import ASKS_TEACHER, Step

PLAIN_EVERY_S: Final = 15.0
LINE_CHARACTERS: Final = 100


class Row(NamedTuple):
    state: str
    started: float
    seconds: float
    line: str


class Progress:
    """Shows steps until the block is left. `console` is standard error: standard output is for data."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, Row] = {}
        self._said: dict[str, float] = {}
        self._live = (
            Live(get_renderable=self._table, console=console, refresh_per_second=2) if console.is_terminal else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def passed(self, step: Step, why: str) -> None:
        self._rows[step.name] = Row("passed", 0, 0, why)
        self._print(step.name, why)

    def started(self, step: Step, why: str) -> None:
        self._rows[step.name] = Row("running", time.monotonic(), 0, why)
        self._print(step.name, f"starts{': ' if why else ''}{why}")

    def said(self, step: Step, line: str) -> None:
        self._rows[step.name] = self._rows[step.name]._replace(line=line)
        if step.stage in ASKS_TEACHER:  # estimates, warnings, costs: each stays to be read
            self._console.print(f"{step.name:24} {line}", markup=False, soft_wrap=True)
            return
        now = time.monotonic()
        if now - self._said.get(step.name, 0) >= PLAIN_EVERY_S:
            self._said[step.name] = now
            self._print(step.name, line)

    def ended(self, step: Step, seconds: float, failed: bool) -> None:
        row = self._rows[step.name]
        self._rows[step.name] = row._replace(state="failed" if failed else "done", seconds=seconds)
        self._print(step.name, f"{'failed' if failed else 'done'} after {seconds:.0f} s")

    def _print(self, name: str, what: str) -> None:
        if self._live is None:
            self._console.print(f"{name:24} {what}", markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for title, justify in (("step", "left"), ("state", "left"), ("s", "right"), ("", "left")):
            table.add_column(
                title, justify="right" if justify == "right" else "left", no_wrap=True, overflow="ellipsis"
            )
        colours = {"done": "green", "failed": "red", "running": "cyan", "passed": "dim"}
        for name, row in self._rows.items():
            seconds = time.monotonic() - row.started if row.state == "running" else row.seconds
            said = escape(row.line[:LINE_CHARACTERS])
            table.add_row(name, f"[{colours[row.state]}]{row.state}[/]", f"{seconds:.0f}" if seconds else "", said)
        return table
