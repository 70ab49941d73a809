"""Documents of a project's sources, and how long the work on them takes: shared by `rubric`'s commands and `label`."""

from collections import Counter
from collections.abc import Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mira_stream.cli.output import talk
from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.ingest.files import find_corpus
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.reading import read_file
from mira_stream.messages import DeadLetter, Document, decoder
from mira_stream.parquet import READERS

LONG: Final = 1_000
SAID_AFTER_S: Final = 10.0
"""Reading that takes this long is spoken of, and again each time it has taken twice as long."""
_said: Final[set[str]] = set()
"""A command reads a source several times, and says once what it leaves out."""


def source_documents(project: Project, name: str) -> Iterator[Document]:
    """The readable documents of a source's files, in order; which rows were none and why is said, once, when it ends.

    Raises ConfigError if it has no files to read.
    """
    section = project.settings.sources[name]
    if not section.path:
        raise ConfigError("source_pathless", f"[sources.{name}] has no path", "add one: its documents are looked at")
    read, refused = decoder(Document), decoder(DeadLetter)
    mapping = RowMapping(name, section, project.settings.family_of(name), project.settings.ingest.inline_bytes_max)
    rejected: Counter[str] = Counter()
    first = ""
    try:
        for file in find_corpus(project.path(section.path)).files:
            for reading in read_file(file, "", mapping, 0, READERS):
                if reading.rejected:
                    letter = refused.decode(reading.value)
                    first = first or letter.error
                    rejected[letter.reason] += 1
                else:
                    yield read.decode(reading.value)
    finally:  # whoever reads may have enough before the end
        counted = ", ".join(f"{count:,} {reason}" for reason, count in sorted(rejected.items()))
        said = f"{name}: rows left out that are no documents: {counted}; the first: {first}"
        if rejected and said not in _said:
            _said.add(said)
            talk.print(said, markup=False, soft_wrap=True)


def read_aloud(name: str, documents: Iterable[Document]) -> Iterator[Document]:
    """A source's documents again; how many were read is said while reading all of them takes long."""
    started, due_s, count = monotonic(), SAID_AFTER_S, 0
    for count, document in enumerate(documents, 1):
        yield document
        if monotonic() - started >= due_s:
            due_s *= 2
            talk.print(f"{name}: {count:,} documents read so far", markup=False, soft_wrap=True)
    if due_s > SAID_AFTER_S:
        talk.print(f"{name}: all read, {count:,} documents", markup=False, soft_wrap=True)


class Steps:
    """One bar on a terminal; elsewhere a line at every tenth of long work."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._tenth = 0
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, said="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def at(self, done: int, total: int, said: str = "") -> None:
        """So many of so many are done."""
        self._bar.update(self._task, completed=done, total=total, said=said)
        tenth = 10 * done // total if total else 0
        if self._bar.disable and total >= LONG and tenth > self._tenth:
            self._tenth = tenth
            self._console.print(f"{self._title}: {done:,} of {total:,} {said}".rstrip(), markup=False)
