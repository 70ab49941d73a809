"""How far labelling is: a bar on a terminal, a line now and then elsewhere."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mira_stream.teaching import Price, Spending

REPORT_VIEWS: Final = 5000


class LabelProgress:
    """Counts documents whose views have begun to be settled; `spending` is the newest that was heard of."""

    def __init__(self, console: Console, documents: int, price: Price) -> None:
        self.spending = Spending()
        self._console = console
        self._price = price
        self._views = 0
        self._last: tuple[str, str] | None = None
        self._bar = Progress(
            TextColumn("documents"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[spent]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=documents, spent="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def spent(self, spending: Spending) -> None:
        self.spending = spending

    def settled(self, source: str, document: str) -> None:
        """A view of this document has its label or none; views come in the order of their documents."""
        self._views += 1
        if (source, document) != self._last:
            self._last = (source, document)
            self._bar.update(self._task, advance=1, spent=self._said())
        if self._bar.disable and self._views % REPORT_VIEWS == 0:
            self._console.print(f"{self._views:,} views judged; {self._said()}")

    def _said(self) -> str:
        tokens = self.spending.prompt_tokens + self.spending.generation_tokens
        return f"{tokens:,} tokens" + (f", cost {self.spending.cost:,.2f}" if self._price.known else "")
