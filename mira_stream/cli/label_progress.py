"""How far labelling is, and what it has taken so far."""

from types import TracebackType
from typing import Self

from rich.console import Console

from mira_stream.cli.sampled import Steps
from mira_stream.teaching import Price, Spending


class LabelProgress:
    """Counts documents whose views have begun to be settled; `spending` is the newest that was heard of."""

    def __init__(self, console: Console, documents: int, price: Price) -> None:
        self.spending = Spending()
        self._steps = Steps(console, "documents")
        self._documents = documents
        self._begun = 0
        self._price = price
        self._last: tuple[str, str] | None = None

    def __enter__(self) -> Self:
        self._steps.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.__exit__(kind, error, trace)

    def spent(self, spending: Spending) -> None:
        self.spending = spending

    def settled(self, source: str, document: str) -> None:
        """A view of this document has its label or none; views come in the order of their documents."""
        if (source, document) != self._last:
            self._last = (source, document)
            self._begun += 1
            self._steps.at(self._begun, self._documents, self._said())

    def _said(self) -> str:
        tokens = self.spending.prompt_tokens + self.spending.generation_tokens
        return f"{tokens:,} tokens" + (f", cost {self.spending.cost:,.2f}" if self._price.known else "")
