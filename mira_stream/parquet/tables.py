"""Whole Parquet files: read some columns, write a table in one step."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mira_stream.errors import ConfigError
from mira_stream.exporting.ports import Columns, TableWriter
from mira_stream.exporting.schema import Schema
from mira_stream.parquet.schema import arrow_schema, arrow_table

COMPRESSION: Final = "zstd"
ROWS_AT_ONCE: Final = 10_000
"""So few are read sooner than they are handed to threads."""


def read_columns(path: Path, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    """Values by column name, as Python objects; all columns if none are named.

    Raises ConfigError if the file is missing, is no Parquet file or lacks a column.
    """
    with _opened(path) as file:
        there = set(file.schema_arrow.names)  # made anew at each look
        missing = [name for name in columns or () if name not in there]
        if missing:
            raise ConfigError(
                "column_missing", f"{path} has no column {', '.join(missing)}", "write the file anew with that column"
            )
        try:
            threads = file.metadata.num_rows > ROWS_AT_ONCE
            table = file.read(columns=None if columns is None else list(columns), use_threads=threads)
            return {name: table.column(name).to_pylist() for name in columns or table.column_names}
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _unreadable(path, error) from None


def column_names(path: Path) -> list[str]:
    """Raises ConfigError like `read_columns`."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def read_metadata(path: Path) -> dict[str, str]:
    """The file's own key-value metadata. Raises ConfigError like `read_columns`."""
    with _opened(path) as file:
        pairs = file.schema_arrow.metadata or {}
        return {key.decode(): value.decode() for key, value in pairs.items()}


def write_table(path: Path, schema: Schema, columns: Columns, metadata: Mapping[str, str] | None = None) -> None:
    """Write the whole file under a hidden name, sync it, then rename: `path` is never half a file.

    Raises OSError as the file system does, KeyError for a missing column, TypeError or ValueError for a wrong value.
    """
    arrow = arrow_schema(schema).with_metadata(dict(metadata or {}))
    table = arrow_table(columns, arrow)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with staged.open("wb") as sink:
            pq.write_table(table, sink, compression=COMPRESSION)
            sink.flush()
            os.fsync(sink.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


class ParquetTable:
    """A TableWriter (exporting/ports.py): one row group a call."""

    def __init__(self, sink: BinaryIO, schema: Schema) -> None:
        self._schema = arrow_schema(schema)
        self._writer = pq.ParquetWriter(sink, self._schema, compression=COMPRESSION)

    def write(self, columns: Columns) -> None:
        self._writer.write_table(arrow_table(columns, self._schema))

    def close(self) -> None:
        self._writer.close()


open_table: Callable[[BinaryIO, Schema], TableWriter] = ParquetTable


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, pre_buffer=False)  # reading ahead is for storage that is far away
    except FileNotFoundError:
        raise ConfigError("parquet_missing", f"{path} does not exist", "make it, or correct the path") from None
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError("parquet_unreadable", f"{path}: {error}", "write the file anew; it is no whole Parquet file")
