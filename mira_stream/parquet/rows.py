"""Rows of a Parquet file as dicts, a batch at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mira_stream.ingest.ports import BadRow

BATCH_ROWS: Final = 256


def read_rows(path: Path, first: int) -> Iterator[dict[str, object] | BadRow]:
    """Rows from `first` on; whole row groups before it are never read. Raises OSError if the file is damaged.

    Nanosecond timestamps come as ISO 8601 text, because Python's own have microseconds.
    """
    try:
        with pq.ParquetFile(path) as file:
            group, skip = _start(file, first)
            groups = list(range(group, file.metadata.num_row_groups))
            for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, use_threads=False):
                passed = min(skip, batch.num_rows)
                yield from _rows(batch.slice(passed))
                skip -= passed
    except pa.ArrowException as error:
        raise OSError(str(error)) from None


def _start(file: pq.ParquetFile, first: int) -> tuple[int, int]:
    """The row group that holds row `first`, and how many of its rows come before."""
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if first < rows:
            return group, first
        first -= rows
    return file.metadata.num_row_groups, 0


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, object] | BadRow]:
    names, columns = batch.schema.names, [_values(column) for column in batch.columns]
    is_good = not any(isinstance(values, _Cells) for values in columns)
    for values in zip(*columns, strict=True):
        bad = None if is_good else next((value for value in values if isinstance(value, BadRow)), None)
        yield bad if bad is not None else dict(zip(names, values, strict=True))


class _Cells(list[object]):
    """A column read cell by cell, because not all of it could become Python objects: some are a BadRow."""


def _values(column: "pa.Array[Any]") -> list[object]:
    """A column as Python objects."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.string())
    try:
        return list(column.to_pylist())
    except (UnicodeDecodeError, ValueError, OverflowError):
        return _Cells(_value(column, row) for row in range(len(column)))


def _value(column: "pa.Array[Any]", row: int) -> object:
    try:
        return column[row].as_py()
    except UnicodeDecodeError as error:
        return BadRow("invalid_utf8", f"byte {error.start}: {error.reason}")
    except (ValueError, OverflowError) as error:
        return BadRow("invalid_document", str(error))
