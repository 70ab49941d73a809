"""How far labelling is, and what it has taken so far."""

from types import TracebackType
from typing import Self

from rich.console import Console

from mira_stream.cli.sampled import Steps
from mira_stream.cli.teachers import Spent


class LabelProgress:
    """Counts documents whose views have begun to be settled."""

    def __init__(self, console: Console, documents: int, spent: Spent) -> None:
        self._steps = Steps(console, "documents")
        self._documents = documents
        self._begun = 0
        self._spent = spent
        self._last: tuple[str, str] | None = None

    def __enter__(self) -> Self:
        self._steps.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.__exit__(kind, error, trace)

    def settled(self, source: str, document: str) -> None:
        """A view of this document has its label or none; views come in the order of their documents."""
        if (source, document) != self._last:
            self._last = (source, document)
            self._begun += 1
            self._steps.at(self._begun, self._documents, self._said())

    def _said(self) -> str:
        spending = self._spent.newest
        tokens = spending.prompt_tokens + spending.generation_tokens
        return f"{tokens:,} tokens" + (f", cost {spending.cost:,.2f}" if self._spent.price.known else "")
