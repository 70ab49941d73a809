"""What reading a corpus needs of a library that knows compressed streams and Parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol

Compression = Literal["gzip", "zstd"]


class BadRow(NamedTuple):
    """A row some value of which is no text, number, list or object that JSON knows."""

    reason: str
    error: str


class OpenCompressed(Protocol):
    def __call__(self, path: Path, compression: Compression) -> BinaryIO:
        """The decompressed bytes as a buffered stream. Reading raises OSError if the file is damaged or cut off."""
        ...


class ReadRows(Protocol):
    def __call__(self, path: Path, first: int) -> Iterator[dict[str, object] | BadRow]:
        """Rows of a Parquet file from row `first` on, a row group in memory at a time. Raises OSError if damaged."""
        ...


class Readers(NamedTuple):
    open_compressed: OpenCompressed
    read_rows: ReadRows
