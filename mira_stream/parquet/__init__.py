"""The only place that knows pyarrow: Parquet files and compressed streams."""

from mira_stream.parquet.tables import column_names, open_table, read_columns, read_metadata, write_table

__all__ = ["column_names", "open_table", "read_columns", "read_metadata", "write_table"]
