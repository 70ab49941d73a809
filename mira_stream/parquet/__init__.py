"""The only place that knows pyarrow: Parquet files and compressed streams."""

from mira_stream.ingest.ports import Readers
from mira_stream.parquet.rows import read_rows
from mira_stream.parquet.streams import open_compressed
from mira_stream.parquet.tables import column_names, open_table, read_columns, read_metadata, write_table

READERS = Readers(open_compressed, read_rows)
"""What reading a corpus needs (ingest/ports.py)."""

__all__ = ["READERS", "column_names", "open_table", "read_columns", "read_metadata", "write_table"]
