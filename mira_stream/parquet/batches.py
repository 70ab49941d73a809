"""Tables in batches, for selection (selection/ports.py): Parquet and CSV in, Parquet out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mira_stream.errors import ConfigError
from mira_stream.parquet.tables import COMPRESSION
from mira_stream.selection.ports import Batch, Shard, Table

BATCH_ROWS: Final = 2**16
GROUP_ROWS: Final = 2**16
"""Rows of a row group that is written."""
CSV_SUFFIXES: Final = (".csv", ".csv.gz")


class ArrowBatch:
    """A Batch (selection/ports.py)."""

    def __init__(self, batch: "pa.RecordBatch", where: str) -> None:
        self.batch = batch
        self._where = where

    @property
    def rows(self) -> int:
        return self.batch.num_rows

    def strings(self, name: str) -> list[str | None]:
        return list(self._cast(name, pa.string()).to_pylist())

    def numbers(self, name: str) -> NDArray[np.float64]:
        column = self._cast(name, pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def where(self, flags: NDArray[np.bool_]) -> Batch:
        return ArrowBatch(self.batch.filter(pa.array(flags)), self._where)

    def _cast(self, name: str, kind: "pa.DataType") -> "pa.Array[Any]":
        try:
            return self.batch.column(name).cast(kind)
        except (pa.ArrowException, KeyError) as error:
            raise ConfigError(
                "column_unreadable", f"{self._where}: column {name!r}: {error}", f"make it a column of {kind}"
            ) from None


class ArrowTable:
    """A Table of a Parquet or CSV file. `batch_rows`: at most so many rows a batch."""

    def __init__(self, path: Path, batch_rows: int = BATCH_ROWS) -> None:
        self._path = path
        self._batch_rows = batch_rows
        self.names: Sequence[str] = self._guarded(self._names)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        missing = [name for name in columns or () if name not in self.names]
        if missing:
            raise ConfigError(
                "column_missing",
                f"{self._path} has no column {', '.join(missing)}, but {', '.join(self.names)}",
                "name the columns (the one that ranks: --score-column), or write the file anew with them",
            )
        rows = iter(self._guarded(lambda: self._read(columns)))
        while (batch := self._guarded(lambda: next(rows, None))) is not None:
            if batch.num_rows:
                yield ArrowBatch(batch, str(self._path))

    def _names(self) -> list[str]:
        if not self._path.is_file():
            raise ConfigError("parquet_missing", f"{self._path} does not exist", "make it, or correct the path")
        if self._is_csv:
            with pcsv.open_csv(self._path) as reader:
                return list(reader.schema.names)
        with pq.ParquetFile(self._path) as file:
            return list(file.schema_arrow.names)

    def _read(self, columns: Sequence[str] | None) -> "Iterator[pa.RecordBatch]":
        if self._is_csv:
            kinds = {name: pa.string() for name in self.names if name in ("id", "source", "text")}
            options = pcsv.ConvertOptions(column_types=kinds, include_columns=list(columns or self.names))
            with pcsv.open_csv(self._path, convert_options=options) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, self._batch_rows):
                        yield batch.slice(start, self._batch_rows)
            return
        with pq.ParquetFile(self._path) as file:
            yield from file.iter_batches(self._batch_rows, columns=None if columns is None else list(columns))

    @property
    def _is_csv(self) -> bool:
        return self._path.name.lower().endswith(CSV_SUFFIXES)

    def _guarded(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (pa.ArrowException, OSError) as error:
            raise ConfigError(
                "parquet_unreadable",
                f"{self._path}: {error}",
                "write the file anew; it is no whole Parquet or CSV file",
            ) from None


class ParquetShard:
    """A Shard: row groups of GROUP_ROWS rows, whatever the batches were."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None
        self._held: list[pa.RecordBatch] = []
        self._rows = 0

    def takes(self, batch: Batch) -> bool:
        return self._schema is None or _arrow(batch).schema.equals(self._schema)

    def write(self, batch: Batch) -> None:
        arrow = _arrow(batch)
        if self._schema is None:
            self._schema = arrow.schema
            self._writer = pq.ParquetWriter(self._sink, self._schema, compression=COMPRESSION)
        self._held.append(arrow)
        self._rows += arrow.num_rows
        while self._rows >= GROUP_ROWS:
            self._flush(GROUP_ROWS)

    def close(self) -> None:
        if self._rows:
            self._flush(self._rows)
        if self._writer is not None:
            self._writer.close()

    def _flush(self, rows: int) -> None:
        assert self._writer is not None, "written to before"
        held = pa.Table.from_batches(self._held, schema=self._schema).combine_chunks()
        self._writer.write_table(held.slice(0, rows), row_group_size=rows)
        self._held = held.slice(rows).to_batches()
        self._rows -= rows


class ArrowTables:
    """Tables (selection/ports.py)."""

    def __init__(self, batch_rows: int = BATCH_ROWS) -> None:
        self._batch_rows = batch_rows

    def open_source(self, path: Path) -> Table:
        """Raises ConfigError: parquet_missing, parquet_unreadable."""
        return ArrowTable(path, self._batch_rows)

    def open_shard(self, sink: BinaryIO) -> Shard:
        return ParquetShard(sink)

    def make_batch(self, columns: Mapping[str, Sequence[str | None]]) -> Batch:
        arrays = [pa.array(values, type=pa.string()) for values in columns.values()]
        return ArrowBatch(pa.RecordBatch.from_arrays(arrays, names=list(columns)), "content")


def _arrow(batch: Batch) -> "pa.RecordBatch":
    assert isinstance(batch, ArrowBatch), "batches come from ArrowTables"
    return batch.batch
