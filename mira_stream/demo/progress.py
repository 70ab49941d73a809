"""Live progress: a panel that redraws itself on a terminal, a plain line every few seconds elsewhere."""

from collections import Counter, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Final, NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mira_stream.demo.tally import Tally

PLAIN_EVERY_S: Final = 5.0
RATE_OVER_S: Final = 20.0


class SourceView(NamedTuple):
    decided: int
    selected: int
    dead: int


class View(NamedTuple):
    """One moment of a run. `engines`: 1 where the group's engine serves; `expected` 0 while that is unknown, and
    without the documents of the user's own corpora, which nobody has counted."""

    elapsed_s: float
    expected: int
    produced: int
    scored: int
    decided: int
    dead: int
    documents_per_s: float
    in_flight: int
    engines: Mapping[str, bool]
    sources: Mapping[str, SourceView]
    note: str

    @property
    def whole(self) -> int:
        """What `produced` is a part of: never less than it; 0 while nothing is expected."""
        return max(self.expected, self.produced) if self.expected else 0

    @property
    def lag(self) -> int:
        """Documents in the stream without an end."""
        return self.produced - self.decided - self.dead


class Rate:
    """Settled documents a second over the last RATE_OVER_S."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, settled: int) -> float:
        self._seen.append((now, settled))
        while now - self._seen[0][0] > RATE_OVER_S and len(self._seen) > 2:
            self._seen.popleft()
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last > first else 0.0


def source_views(tally: Tally) -> dict[str, SourceView]:
    """Of each source that was seen: decided, selected, dead."""
    decided = Counter(decision.source for decision in tally.decisions)
    selected = Counter(decision.source for decision in tally.decisions if decision.selected)
    dead = Counter(letter.source or "(unknown)" for letter in tally.dead)
    names = sorted(decided.keys() | dead.keys())
    return {name: SourceView(decided[name], selected[name], dead[name]) for name in names}


class Progress:
    """Shows views until the block is left. `console` is standard error: standard output is for data."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._said_s = float("-inf")
        self._note = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, view: View) -> None:
        if self._live is not None:
            self._live.update(panel(view), refresh=True)
        elif view.elapsed_s - self._said_s >= PLAIN_EVERY_S or view.note != self._note:
            self._said_s, self._note = view.elapsed_s, view.note
            self._console.print(line(view), markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, soft_wrap=True)


def line(view: View) -> str:
    """The view as one line of text."""
    kept = "  ".join(f"{name} {_share(source)}" for name, source in view.sources.items())
    parts = [
        f"{view.elapsed_s:4.0f} s",
        f"in {view.produced}" + (f"/{view.whole}" if view.whole else ""),
        f"scored {view.scored}",
        f"decided {view.decided}",
        f"dead {view.dead}",
        f"{view.documents_per_s:.1f}/s",
        f"lag {view.lag}",
        view.note,
        f"kept: {kept}" if kept else "",
    ]
    return "  ".join(part for part in parts if part)


def panel(view: View) -> RenderableType:
    """The view as a panel of a terminal."""
    engines = Text("engines")
    for group, up in view.engines.items():
        engines.append(f"  {'●' if up else '○'} {group}", style="green" if up else "yellow")
    counts = Text(
        f"{view.elapsed_s:.0f} s   in {view.produced}   scored {view.scored}   decided {view.decided}"
        f"   dead {view.dead}   {view.documents_per_s:.1f} documents/s   lag {view.lag}   in flight {view.in_flight}"
    )
    bar = ProgressBar(total=max(1, view.expected, view.produced), completed=view.decided + view.dead, width=60)
    table = Table.grid(padding=(0, 2))
    for name, source in view.sources.items():
        table.add_row(escape(name), f"{source.decided} decided", f"{_share(source)} kept", f"{source.dead} dead")
    return Group(Text(view.note, style="bold"), engines, counts, bar, table)


def _share(source: SourceView) -> str:
    return f"{100 * source.selected / source.decided:.0f} %" if source.decided else "-"
