"""Values by (source, id), more than fit into memory: scores to look up, selected documents to find the content of."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class Book:
    """A table on disk; owns its file. One (source, id) has one value."""

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=OFF")
        self._base.execute("PRAGMA synchronous=OFF")
        self._base.execute(
            "CREATE TABLE entries (source TEXT, id TEXT, value REAL, found INTEGER DEFAULT 0, PRIMARY KEY (source, id))"
            " WITHOUT ROWID"
        )

    def put(self, entries: Iterable[tuple[str, str, float]]) -> int:
        """Enter (source, id, value)s; how many were new. A (source, id) that is there keeps its value."""
        before = self._base.total_changes
        self._base.execute("BEGIN")
        self._base.executemany("INSERT OR IGNORE INTO entries (source, id, value) VALUES (?, ?, ?)", entries)
        self._base.execute("COMMIT")
        return self._base.total_changes - before

    def values(self, sources: Sequence[str], ids: Sequence[str]) -> NDArray[np.float64]:
        """The value of each, NaN for what was not entered."""
        ask = "SELECT value FROM entries WHERE source = ? AND id = ?"
        rows = (self._base.execute(ask, pair).fetchone() for pair in zip(sources, ids, strict=True))
        return np.array([np.nan if row is None else row[0] for row in rows], dtype=np.float64)

    def find(self, sources: Sequence[str], ids: Sequence[str]) -> NDArray[np.bool_]:
        """Which of these are entered and were not found before; they are found now."""
        ask = "UPDATE entries SET found = 1 WHERE source = ? AND id = ? AND found = 0"
        self._base.execute("BEGIN")
        found = [self._base.execute(ask, pair).rowcount == 1 for pair in zip(sources, ids, strict=True)]
        self._base.execute("COMMIT")
        return np.array(found, dtype=np.bool_)

    def missing(self) -> tuple[int, tuple[str, str] | None]:
        """How many were never found, and the first of them."""
        (count,) = self._base.execute("SELECT count(*) FROM entries WHERE found = 0").fetchone()
        first = self._base.execute("SELECT source, id FROM entries WHERE found = 0 LIMIT 1").fetchone()
        return int(count), first

    def close(self) -> None:
        self._base.close()
