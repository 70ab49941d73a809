"""Files that are nobody's business before their transaction is committed.

A table is written to `.part-….writing`, synced, and renamed to `.part-….<hash>.<chance>.staged`: staged files are
whole, their names say what is in them, and no two owners give the same name, so that one that lost its partition can
neither spoil nor delete those of the next one. Once the Export message that lists them is committed they are renamed
into place; only then do they count. What earlier owners left over is deleted behind a first commit (`handler.py`).
"""

import asyncio
import errno
import os
import re
from base64 import b32encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import BinaryIO, Final, ParamSpec, TypeVar, cast

from mira_stream.errors import FolderAway
from mira_stream.exporting.ports import Columns, OpenTable
from mira_stream.exporting.schema import Schema
from mira_stream.hashed_file import HashedFile
from mira_stream.messages import ExportedFile

TABLES: Final = ("kept", "scores")
P = ParamSpec("P")
T = TypeVar("T")
NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
TRIED_BYTES: Final = 4096
_PART: Final = re.compile(r"part-(\d{5,})-\d{12,}-(\d{12,})\.parquet")


def part_path(table: str, source: str, partition: int, first: int, last: int) -> PurePosixPath:
    """Where decisions first..last of a partition go, relative to the export folder."""
    return PurePosixPath(table, source, f"part-{partition:05d}-{first:012d}-{last:012d}.parquet")


def place_of(path: PurePosixPath) -> tuple[int, int] | None:
    """Partition and last decision of a file that `part_path` has named; None of any other."""
    found = _PART.fullmatch(path.name)
    return None if found is None else (int(found[1]), int(found[2]))


class StagedTable:
    """One table on its way to its staged file."""

    def __init__(self, out: Path, path: PurePosixPath, schema: Schema, open_table: OpenTable) -> None:
        self._out = out
        self._path = path
        self._rows = 0
        folder = out / path.parent
        with writing(out):
            make_folder(folder, below=out)
            self._chance = b32encode(os.urandom(5)).decode().lower()
            self._hidden = folder / f".{path.name}.{self._chance}.writing"
            self._sink = HashedFile(self._hidden)
            try:
                self._table = open_table(cast(BinaryIO, self._sink), schema)
            except BaseException:
                self._discard()
                raise

    def write(self, columns: Columns) -> None:
        """Append a row group. Raises FolderAway(disk_full, export_unwritable, export_gone)."""
        with writing(self._out):
            self._table.write(columns)
        self._rows += len(next(iter(columns.values())))

    def complete(self) -> None:
        """Write the end of the file and make it durable. Raises FolderAway like `write`."""
        with writing(self._out):
            self._table.close()
            self._sink.sync()
            self._sink.close()

    def stage(self) -> ExportedFile:
        """Give the complete file its staged name: from here on it is the partition's, whoever owns that."""
        file = ExportedFile(path=str(self._path), rows=self._rows, sha256=self._sink.digest())
        with writing(self._out):
            self._hidden.replace(self._hidden.with_name(f"{_staged_as(file)}.{self._chance}.staged"))
            sync_folder(self._hidden.parent)
        return file

    def abandon(self) -> None:
        """Delete what was written, unless it is staged: the next owner may have staged the same under that name."""
        with suppress(OSError):  # the table's footer may find no space: the file is deleted anyway
            self._table.close()
        self._discard()

    def _discard(self) -> None:
        with suppress(OSError):  # what it could not write is given up with it
            self._sink.close()
        self._hidden.unlink(missing_ok=True)


def put_into_place(out: Path, files: Iterable[ExportedFile]) -> list[Path]:
    """Rename staged files to their final names; files that are there already are left alone.

    Gives those that are neither staged nor in place. Raises FolderAway if one cannot be renamed.
    """
    folders, missing = set(), []
    with writing(out):
        for file in files:
            final = out / file.path
            for staged in _staged(out, file):  # of one name and hash, they hold the same
                with suppress(FileNotFoundError):
                    staged.replace(final)
            if final.exists():
                folders.add(final.parent)
            else:
                missing.append(final)
        for folder in folders:
            sync_folder(folder)
    return missing


def left_over(out: Path, partition: int) -> list[Path]:
    """All files of a partition that are not in place: written or staged by whoever owned it so far."""
    with writing(out):
        return [hidden for table in TABLES for hidden in out.glob(f"{table}/*/.part-{partition:05d}-*")]


def delete(out: Path, files: Iterable[Path]) -> None:
    """Delete what is still there of them."""
    with writing(out):
        for file in files:
            file.unlink(missing_ok=True)


def try_writing(out: Path) -> None:
    """Write and sync a page into a file without a name, which is gone whatever happens.

    Raises FolderAway(disk_full, export_unwritable, export_gone).
    """
    with writing(out), TemporaryFile(dir=out, buffering=0) as file:
        file.write(bytes(TRIED_BYTES))
        os.fsync(file.fileno())


def is_staged(out: Path, file: ExportedFile) -> bool:
    return bool(_staged(out, file))


async def in_thread(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Run file work beside the loop; a cancelled caller waits until it is over, for nobody else may touch the files."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **named))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn the file system's refusals into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise FolderAway(
                "disk_full",
                f"no space left for {out}",
                "free some space there: the exporter goes on by itself; nothing is lost, and no half file is left",
            ) from error
        if error.errno == errno.ENOENT and not os.path.isdir(out):
            raise export_gone(out) from error
        raise FolderAway(
            "export_unwritable",
            f"{out}: {error}",
            "let this user write there, and the exporter goes on by itself; or start it with another folder (--out)",
        ) from error


def export_gone(out: Path) -> FolderAway:
    return FolderAway(
        "export_gone",
        f"{out} is not the folder that was exported to before, or not all of it: it was moved away, emptied, or its"
        " mount is gone",
        "where another exporter of the project runs, give this one the same --out: all write to one folder. Else bring"
        " it back with its hidden files, and the exporter goes on by itself; nothing is lost meanwhile. If it is"
        " gone for good: run `mira-stream export --out DIR --from-start` once, which exports all decisions that Kafka"
        " still holds again; or start it (or `up`) once with --accept-loss, which gives up what was exported, and goes"
        " on behind it",
    )


def exported_elsewhere(out: Path) -> FolderAway:
    return FolderAway(
        "export_gone",
        f"all decisions are exported anew into another folder than {out} since (`mira-stream export --from-start`)",
        "start it with --out of that folder: this one is whole up to then, and is not gone on with. If that export was"
        " cut off: run it again",
    )


def _staged_as(file: ExportedFile) -> str:
    return f".{PurePosixPath(file.path).name}.{file.sha256[:16]}"


def _staged(out: Path, file: ExportedFile) -> list[Path]:
    return sorted((out / file.path).parent.glob(f"{_staged_as(file)}.*staged"))


def make_folder(folder: Path, below: Path | None = None) -> None:
    """Make a folder that survives a power failure, with all above it. `below`: not that one, nor what is above it."""
    if folder.is_dir():
        return
    if folder != below:
        make_folder(folder.parent, below)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
