"""The handler of one partition of `decisions`: collects them, and turns each batch into files.

  1. `seal` writes and syncs the batch's files under hidden names
  2. the runner commits the Export message that lists them together with the next offset
  3. `committed` renames them into place
Killed before 2: the decisions come again, and the hidden files are deleted behind the first commit. Killed after 2:
`open` renames.

Why not by `open`: an owner that sleeps there may wake when another owns the partition, whose committed files may not
be renamed yet. A commit proves that nobody had come before it, so whatever `open` saw is of earlier owners.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from mira_stream.errors import DataLossError, FolderAway
from mira_stream.exporting.batch import Batch, BatchWriter, Staged
from mira_stream.exporting.folder import OutFolder
from mira_stream.exporting.ledger import last_export
from mira_stream.exporting.ports import ExportMetrics, OpenTable
from mira_stream.exporting.staging import delete, in_thread, left_over
from mira_stream.messages import DIMENSIONS, SOURCE_PATTERN, Decision, Export, decoder, encode
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition

_decode: Final = decoder(Decision).decode
_is_source: Final = re.compile(SOURCE_PATTERN).match


class ExportingFactory:
    """Makes the handler of a partition whenever its ownership starts anew."""

    def __init__(self, folder: OutFolder, open_table: OpenTable, metrics: ExportMetrics) -> None:
        self._folder = folder
        self._open_table = open_table
        self._metrics = metrics

    def __call__(self, partition: TopicPartition, reader: LogReader) -> "ExportingHandler":
        exports = TopicPartition(self._folder.exports, partition.partition)
        return ExportingHandler(exports, reader, self._folder, self._open_table, self._metrics)


class ExportingHandler:
    """A streaming.ports.Handler."""

    def __init__(
        self,
        exports: TopicPartition,
        reader: LogReader,
        folder: OutFolder,
        open_table: OpenTable,
        metrics: ExportMetrics,
    ) -> None:
        self._exports = exports
        self._reader = reader
        self._folder = folder
        self._open_table = open_table
        self._metrics = metrics
        self._decisions: list[Decision] = []
        self._offsets: list[int] = []
        self._staged: tuple[Staged, Export] | None = None
        self._left_over: list[Path] = []

    async def open(self, next_offset: int) -> None:
        """Raises DataLossError if what was exported never came to its place, FolderAway if the folder is not there."""
        await self._folder.look_back(self._reader)
        await in_thread(self._folder.check)
        last = await last_export(self._reader, self._exports)
        if last is not None:
            if last.last >= next_offset:
                raise DataLossError(
                    "export_rewound",
                    f"partition {self._exports.partition}: decisions up to offset {last.last} were exported,"
                    f" and the consumer group stands at {next_offset}",
                    "going on would export decisions twice: start it without --accept-loss, which says how to go back"
                    f" (an offset moved before there was progress: set the consumer group to {last.last + 1});"
                    " `export --from-start` exports all again, into an empty folder",
                )
            await in_thread(self._folder.finish, last)
        self._left_over = await in_thread(left_over, self._folder.out, self._exports.partition)

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        """Raises DataLossError for a record that is no decision: leaving it out would lose a document."""
        try:
            decision = _decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _no_decision(record, str(error)) from None
        if len(decision.scores) != DIMENSIONS or _is_source(decision.source) is None:
            raise _no_decision(record, f"{len(decision.scores)} scores, source {decision.source!r}")
        self._decisions.append(decision)
        self._offsets.append(record.offset)
        return ()

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        """Stages the batch's files. Raises FolderAway(disk_full, export_unwritable, export_gone)."""
        if not self._decisions:
            return ()
        number = self._exports.partition
        batch = Batch(number, self._offsets[0], self._offsets[-1], self._decisions)
        self._decisions, self._offsets = [], []
        with self._telling():
            await in_thread(self._folder.check)
            staged = await BatchWriter(self._folder.out, batch, self._open_table).write(self._reader)
        export = Export(
            partition=number,
            first=batch.first,
            last=batch.last,
            files=staged.files,
            content_errors=staged.content_errors.total(),
        )
        self._staged = staged, export
        return (Outgoing(self._exports.topic, str(number).encode(), encode(export), number),)

    async def committed(self) -> None:
        if self._staged is None:
            return
        (staged, exported), self._staged = self._staged, None
        with self._telling():
            await in_thread(self._folder.finish, exported)
            await in_thread(delete, self._folder.out, self._left_over)
        self._folder.told(self._exports.partition, None)
        self._left_over = []
        for source, errors in staged.content_errors.items():
            for _ in range(errors):
                self._metrics.content_error(source)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except FolderAway as error:
            self._folder.told(self._exports.partition, error)
            raise

    async def close(self) -> None:
        """Staged files stay: whether their transaction took place is for the next owner to find out."""
        self._decisions, self._offsets, self._staged = [], [], None


def _no_decision(record: Record, cause: str) -> DataLossError:
    return DataLossError(
        "decision_unreadable",
        f"{record.topic}/{record.partition} offset {record.offset}: {cause}",
        "find out who wrote it; only the aggregator writes to this topic",
    )
