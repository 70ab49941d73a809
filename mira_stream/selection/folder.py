"""The folder a selection is written to: whole or not there.

Everything is written under a hidden name beside it and renamed at the end. A hidden folder that a killed run left is
deleted by the next, which starts from the beginning: the same cards give the same bytes.
"""

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import orjson

from mira_stream.errors import DependencyError, UsageError
from mira_stream.hashed_file import HashedFile
from mira_stream.selection.ports import Batch, Shard, Tables

MANIFEST: Final = "manifest.json"
SCHEMA: Final = "selection.v1"
NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def staged(out: Path, *, force: bool) -> Iterator[Path]:
    """A hidden folder to write into, which becomes `out` at the end of the block, and is deleted if it fails.

    Raises UsageError: out_not_empty, out_holds_others (`force` replaces an older selection, nothing else), out_busy;
    DependencyError:
    disk_full, out_unwritable.
    """
    out = out.absolute()
    hidden = out.with_name(f".{out.name}.selecting")
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with _locked(hidden.with_suffix(".lock"), out):
            _take_back(hidden, out)
            _check_free(out, force)
            shutil.rmtree(hidden, ignore_errors=True)
            try:
                hidden.mkdir()
                yield hidden
                _put_into_place(hidden, out)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)


class Shards:
    """Parquet files of one table, a folder a source: a new file when `rows_max` is reached or the columns change."""

    def __init__(self, root: Path, table: str, tables: Tables, rows_max: int) -> None:
        self._root = root
        self._table = table
        self._tables = tables
        self._rows_max = rows_max
        self._open: dict[str, _OpenShard] = {}
        self._numbers: dict[str, int] = {}
        self.written: list[dict[str, object]] = []

    def write(self, source: str, batch: Batch) -> None:
        """Append rows of one source. Raises OSError as the file system does."""
        shard = self._open.get(source)
        if shard is not None and (shard.rows >= self._rows_max or not shard.takes(batch)):
            self._finish(source)
            shard = None
        if shard is None:
            number = self._numbers.get(source, 0)
            self._numbers[source] = number + 1
            name = f"{self._table}/{source}/part-{number:05d}.parquet"
            shard = self._open[source] = _OpenShard(self._root, name, self._tables)
        shard.write(batch)

    def close(self) -> list[dict[str, object]]:
        """Complete all files: {path, source, rows, sha256} of each, by path."""
        for source in sorted(self._open):
            self._finish(source)
        return sorted(self.written, key=lambda shard: str(shard["path"]))

    def _finish(self, source: str) -> None:
        shard = self._open.pop(source)
        digest = shard.close()
        self.written.append({"path": shard.name, "source": source, "rows": shard.rows, "sha256": digest})


class _OpenShard:
    def __init__(self, root: Path, name: str, tables: Tables) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.rows = 0
        self._sink = HashedFile(path)
        self._shard: Shard = tables.open_shard(cast("object", self._sink))  # type: ignore[arg-type]

    def takes(self, batch: Batch) -> bool:
        return self._shard.takes(batch)

    def write(self, batch: Batch) -> None:
        self._shard.write(batch)
        self.rows += batch.rows

    def close(self) -> str:
        self._shard.close()
        self._sink.sync()
        self._sink.close()
        return self._sink.digest()


def _check_free(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = _listed(out)
    if not ours:
        raise UsageError("out_not_empty", f"{out} exists, and is no selection", "choose another --out")
    foreign = sorted(str(path) for path in out.rglob("*") if not path.is_dir() and path not in ours)
    if foreign:
        raise UsageError(
            "out_holds_others",
            f"{out} holds an older selection, and beside it {foreign[0]}",
            "take away what is not the selection's, or choose another --out",
        )
    if not force:
        fix = "--force replaces it, or choose another --out"
        raise UsageError("out_not_empty", f"{out} exists with an older selection", fix)


def _listed(out: Path) -> set[Path]:
    """All files of the selection in `out`, as its manifest lists them; none if there is no such manifest."""
    try:
        manifest = orjson.loads((out / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return set()
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        return set()
    return {out / MANIFEST, *(out / name for name in _paths(manifest))}


def _paths(value: object) -> Iterator[str]:
    """Every `path` beside a `sha256` and `rows`, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str) and "rows" in value:
            yield value["path"]
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner)


def _put_into_place(hidden: Path, out: Path) -> None:
    """An older selection goes away only when the new one is whole."""
    old = _old(hidden)
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    hidden.rename(out)
    shutil.rmtree(old, ignore_errors=True)
    handle = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_back(hidden: Path, out: Path) -> None:
    """Killed between the two renames of `_put_into_place`: the older selection is still the one in force."""
    if _old(hidden).is_dir() and not out.exists():
        _old(hidden).rename(out)


def _old(hidden: Path) -> Path:
    return hidden.with_suffix(".old")


@contextmanager
def _locked(path: Path, out: Path) -> Iterator[None]:
    with path.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it has taken the file away: another one may hold the file that is there now.
            if not path.exists() or not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                raise BlockingIOError
        except BlockingIOError:
            raise UsageError("out_busy", f"another selection is being written to {out}", "wait for it") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turn the file system's refusals into ours."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        if getattr(error, "errno", None) in NO_SPACE or "disk is full" in str(error):
            raise DependencyError(
                "disk_full",
                f"no space left for {out}",
                "free some space there, then select again: nothing is left over",
            ) from error
        raise DependencyError(
            "out_unwritable", f"{out}: {error}", "let this user write there, or choose another --out"
        ) from error
