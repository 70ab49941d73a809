"""Writes one batch of decisions to staged files: scores/ for all, kept/ for the selected ones."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from mira_stream.exporting.contents import Content, fetch
from mira_stream.exporting.ports import OpenTable
from mira_stream.exporting.rows import kept_columns, score_columns
from mira_stream.exporting.schema import KEPT, SCORES
from mira_stream.exporting.staging import P, StagedTable, T, in_thread, part_path
from mira_stream.messages import Decision, ExportedFile
from mira_stream.records import LogReader

ROW_GROUP_BYTES: Final = 8 * 2**20
"""Content that is held for a source before it is written as a row group."""


class Batch(NamedTuple):
    """Decisions of one partition in offset order, with their first and last offset."""

    partition: int
    first: int
    last: int
    decisions: Sequence[Decision]


class Staged(NamedTuple):
    """The files of a batch, and by source how many contents could not be had."""

    files: list[ExportedFile]
    content_errors: Counter[str]


class BatchWriter:
    """Use it for one batch. If `write` fails it leaves no half file; staged ones are the next owner's to delete."""

    def __init__(self, out: Path, batch: Batch, open_table: OpenTable) -> None:
        self._out = out
        self._batch = batch
        self._open_table = open_table
        self._tables: dict[tuple[str, str], StagedTable] = {}
        self._rows: dict[str, list[tuple[Decision, Content]]] = defaultdict(list)
        self._held: Counter[str] = Counter()
        self._content_errors: Counter[str] = Counter()
        self._writing = Lock()

    async def write(self, reader: LogReader) -> Staged:
        """Raises DependencyError if the disk is full or a broker cannot be read."""
        try:
            await in_thread(self._alone, self._write_scores)
            selected = [decision for decision in self._batch.decisions if decision.selected]
            async for decision, content in fetch(reader, selected):
                await self._hold(decision, content)
            files = await in_thread(self._alone, self._stage)
        except BaseException:
            await in_thread(self._alone, self._abandon)
            raise
        return Staged(files, self._content_errors)

    async def _hold(self, decision: Decision, content: Content) -> None:
        source = decision.source
        self._content_errors[source] += content.error is not None
        self._rows[source].append((decision, content))
        self._held[source] += content.bytes
        if self._held[source] >= ROW_GROUP_BYTES:
            await in_thread(self._alone, self._write_kept, source)

    def _alone(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Where all tasks are cancelled at once, the one that waits for a thread is, too, and its thread goes on: a
        table that is closed while another thread writes it brings pyarrow, and this process, down."""
        with self._writing:
            return work(*args, **named)

    def _write_scores(self) -> None:
        by_source: dict[str, list[Decision]] = defaultdict(list)
        for decision in self._batch.decisions:
            by_source[decision.source].append(decision)
        for source, decisions in sorted(by_source.items()):
            self._table("scores", source).write(score_columns(decisions))

    def _write_kept(self, source: str) -> None:
        self._table("kept", source).write(kept_columns(self._rows.pop(source)))
        del self._held[source]

    def _stage(self) -> list[ExportedFile]:
        for source in sorted(self._rows):
            self._write_kept(source)
        tables = [table for _, table in sorted(self._tables.items())]
        for table in tables:  # all of them first: a full disk is met here, while all can be given up
            table.complete()
        return [table.stage() for table in tables]

    def _abandon(self) -> None:
        for table in self._tables.values():
            table.abandon()

    def _table(self, name: str, source: str) -> StagedTable:
        if (name, source) not in self._tables:
            batch = self._batch
            path = part_path(name, source, batch.partition, batch.first, batch.last)
            schema = KEPT if name == "kept" else SCORES
            self._tables[name, source] = StagedTable(self._out, path, schema, self._open_table)
        return self._tables[name, source]
