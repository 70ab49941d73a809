"""The folder that everything is exported to: made only if nothing was exported before, for what was must be in it."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from mira_stream.errors import DataLossError, FolderAway, UsageError
from mira_stream.exporting.ledger import last_export
from mira_stream.exporting.staging import (
    TABLES,
    export_gone,
    exported_elsewhere,
    in_thread,
    is_staged,
    make_folder,
    put_into_place,
    sync_folder,
    try_writing,
    writing,
)
from mira_stream.messages import Export
from mira_stream.records import LogReader

GIVEN_UP: Final = ".given-up"
WITHOUT_CONTENT: Final = ".without-content"
log: Final = structlog.get_logger("mira_stream.export")


class OutFolder:
    """Shared by all partitions of an exporter. One that was moved away, or whose mount is gone and has left an empty
    mount point, must not be begun anew unseen: half of the export would stand elsewhere. Four kinds of hidden files,
    named after the topic of exports, say what its tables, which may be archived at any time, cannot:

      - `scores/.<exports>` and `kept/.<exports>`, empty: this is the folder. They are there before anything else is.
      - `scores/.<exports>-<partition>`, an offset: the Export that ends there is in place, or was given up. Files of it
        that are missing are then nobody's loss.
      - `scores/.<exports>-<partition>.given-up`, a line `FIRST LAST` for decisions whose files a person gave up: the
        audit counts them apart.
      - `scores/.<exports>-<partition>.without-content`, an offset: kept documents of decisions up to there whose
        content was gone when they were exported are written off by a person; the audit counts them apart, too.

    `accept_loss`: begin anew when the start finds it gone, give up what is lost of a last Export, and write off what
    was exported without its content until then. All is written down here for every partition, so that the next start
    goes on without it.
    """

    def __init__(self, out: Path, exports: str, *, accept_loss: bool = False) -> None:
        """`exports`: the topic's full name."""
        self.out = out
        self.exports = exports
        self.known = asyncio.Event()
        """Whether something was exported before was read from the log."""
        self.told: Callable[[int, FolderAway | None], None] = lambda partition, error: None
        """Of a partition whose files could not be written, and (None) of one whose files are in place."""
        self._accept_loss = accept_loss
        self._lock = asyncio.Lock()
        self._begun = False
        self._to_write_off: list[Export] = []
        self._writing_off = threading.Lock()
        self._marks = [out / table / f".{exports}" for table in TABLES]

    async def look_back(self, reader: LogReader) -> None:
        """Learn from the log, once, whether the folder must be there. Raises DependencyError."""
        async with self._lock:
            if self.known.is_set():
                return
            found = [await last_export(reader, partition) for partition in await reader.partitions(self.exports)]
            exported = [export for export in found if export is not None]
            self._begun = bool(exported)
            if self._begun and self._accept_loss and await in_thread(self._is_gone):
                await in_thread(self._begin, exported)
                log.warning("what was exported before is gone: begins anew", out=str(self.out), accept_loss=True)
            if self._accept_loss:
                self._to_write_off = [export for export in exported if not export.anew]
            self.known.set()

    def check(self) -> None:
        """Make it if nothing was exported yet. Raises FolderAway(export_gone, export_unwritable, disk_full)."""
        if not self._begun:
            self._begin(())
            self._begun = True
        elif self._is_gone():
            raise export_gone(self.out)
        elif self._to_write_off:
            self._write_off()

    def check_empty(self) -> None:
        """Raises UsageError(export_there) if something of an export is in it, FolderAway like `check`."""
        with writing(self.out):
            there = [mark for mark in self._marks if mark.exists()]
            there += [path for table in TABLES for path in self.out.glob(f"{table}/*/*.parquet")][:1]
        if there:
            raise UsageError(
                "export_there",
                f"{there[0]} is there: exported anew into the same folder, decisions would stand in it twice",
                "leave --from-start out to go on with it; name another folder with --out, or move this one away",
            )

    def begin(self, anew: Iterable[Export]) -> None:
        """Make it for these exports `anew`, whatever was exported before. Raises FolderAway like `check`."""
        self._begin(anew)

    def try_writing(self) -> None:
        """Write a page that is gone afterwards. Raises FolderAway like `check`."""
        self.check()
        try_writing(self.out)

    def finish(self, export: Export) -> None:
        """Put the files of a committed Export into place, and write down that they are.

        Raises DataLossError if one is neither staged nor in place and never was, FolderAway like `check`.
        """
        missing = put_into_place(self.out, export.files)
        if self._is_settled(export):
            return
        if export.anew:  # into another folder: exported here, all would stand here twice
            raise exported_elsewhere(self.out)
        if self._is_gone():
            raise export_gone(self.out)
        if missing and not self._accept_loss:
            raise DataLossError(
                "export_lost",
                f"{missing[0]} was exported, and is neither in place nor staged",
                "if the last run wrote to another folder (`export --from-start` begins one), give that one as --out:"
                " all exporters write to one. Else bring the file back; or start it once with --accept-loss, which"
                " gives it up; or export all decisions that Kafka still holds anew, into an empty folder: mira-stream"
                " export --from-start --out FOLDER",
            )
        if missing:
            log.warning("exported before and gone", files=[str(path) for path in missing], accept_loss=True)
        with writing(self.out):
            if missing:
                self._give_up(export, export.first)
            self._settle(export)

    def _is_gone(self) -> bool:
        with writing(self.out):
            return not all(mark.exists() for mark in self._marks)

    def _begin(self, exports: Iterable[Export]) -> None:
        """The marks come last: killed before them, it is not begun."""
        with writing(self.out):
            for mark in self._marks:
                make_folder(mark.parent)
            for export in exports:
                for named in (GIVEN_UP, WITHOUT_CONTENT):
                    self._named(export.partition, named).unlink(missing_ok=True)
                if not export.anew:
                    self._give_up(export, 0)
                self._settle(export)
            for mark in self._marks:
                mark.touch()
                sync_folder(mark.parent)

    def _settled(self, partition: int) -> Path:
        return self.out / "scores" / f".{self.exports}-{partition:05d}"

    def _named(self, partition: int, name: str) -> Path:
        settled = self._settled(partition)
        return settled.with_name(f"{settled.name}{name}")

    def _give_up(self, export: Export, first: int) -> None:
        with self._named(export.partition, GIVEN_UP).open("ab", buffering=0) as file:
            file.write(b"%d %d\n" % (first, export.last))
            os.fsync(file.fileno())

    def _write_off(self) -> None:
        """What lacks its content, of all that had been exported when this was started."""
        with self._writing_off, writing(self.out):
            if not self._to_write_off:
                return
            for export in self._to_write_off:
                path = self._named(export.partition, WITHOUT_CONTENT)
                _write_whole(path, max(export.last, _offset_in(path)))
            sync_folder(self._settled(0).parent)
            upto = {export.partition: export.last for export in self._to_write_off}
            self._to_write_off = []
        log.warning("what was exported without its content is written off", upto=upto, accept_loss=True)

    def _is_settled(self, export: Export) -> bool:
        """Whatever else stands there, by an owner that was cut off or came late, has the files looked at."""
        settled = self._settled(export.partition)
        with writing(self.out):
            return settled.exists() and settled.read_bytes() == b"%d" % export.last

    def _settle(self, export: Export) -> None:
        with self._settled(export.partition).open("wb", buffering=0) as file:
            file.write(b"%d" % export.last)
            os.fsync(file.fileno())


def _write_whole(path: Path, offset: int) -> None:
    """Killed meanwhile, the offset of before is there."""
    written = path.with_name(f"{path.name}.{os.getpid()}.writing")
    with written.open("wb", buffering=0) as file:
        file.write(b"%d" % offset)
        os.fsync(file.fileno())
    written.replace(path)


def _offset_in(path: Path) -> int:
    return int(path.read_bytes()) if path.exists() else -1


def without_content(out: Path, exports: str) -> dict[int, int]:
    """By partition, up to which decision missing contents are written off with --accept-loss."""
    start = f".{exports}-"
    return {
        int(path.name.removeprefix(start).removesuffix(WITHOUT_CONTENT)): _offset_in(path)
        for path in sorted((out / "scores").glob(f"{start}*{WITHOUT_CONTENT}"))
    }


def given_up(out: Path, exports: str) -> dict[int, list[tuple[int, int]]]:
    """By partition, the offsets (first, last) of decisions whose files were given up with --accept-loss."""
    found: dict[int, list[tuple[int, int]]] = {}
    for path in sorted((out / "scores").glob(f".{exports}-*{GIVEN_UP}")):
        number = path.name.removeprefix(f".{exports}-").removesuffix(GIVEN_UP)
        lines = [line.split() for line in path.read_text().splitlines()]
        found[int(number)] = [(int(first), int(last)) for first, last in lines]
    return found


async def finish_exports(reader: LogReader, folder: OutFolder) -> None:
    """Put into place what is committed and still staged: a stop may come between a commit and its renames.

    Harmless to a partition's next owner, who would do the same. Raises like `OutFolder.finish`.
    """
    for partition in await reader.partitions(folder.exports):
        last = await last_export(reader, partition)
        if last is not None and any(is_staged(folder.out, file) for file in last.files):
            await in_thread(folder.finish, last)
