"""What selection needs of tables; `parquet` has it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray


class Batch(Protocol):
    """Some rows of a table."""

    @property
    def rows(self) -> int: ...

    def strings(self, name: str) -> list[str | None]:
        """A column as text; whole numbers become text. Raises ConfigError(column_unreadable) for another type."""
        ...

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as float64; null is NaN. Raises ConfigError(column_unreadable)."""
        ...

    def where(self, flags: NDArray[np.bool_]) -> "Batch":
        """The rows whose flag is set, all columns."""
        ...


class Table(Protocol):
    """One file of rows: read as often as needed, always in the same batches."""

    @property
    def names(self) -> Sequence[str]: ...

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """Its rows in order, all columns if none are named. Raises ConfigError if the file is damaged."""
        ...


class Shard(Protocol):
    """Writes the batches of tables with equal columns to a stream it does not close."""

    def takes(self, batch: Batch) -> bool:
        """Whether the batch has the columns of those before."""
        ...

    def write(self, batch: Batch) -> None: ...

    def close(self) -> None: ...


class Tables(Protocol):
    """How tables are read and written."""

    def open_source(self, path: Path) -> Table: ...

    def open_shard(self, sink: BinaryIO) -> Shard: ...

    def make_batch(self, columns: Mapping[str, Sequence[str | None]]) -> Batch: ...
