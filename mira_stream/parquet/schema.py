"""Our column types in Arrow's words."""

from typing import Final

import pyarrow as pa

from mira_stream.exporting.ports import Columns
from mira_stream.exporting.schema import ColumnType, Schema

_ARROW: Final[dict[ColumnType, pa.DataType]] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "strings": pa.list_(pa.string()),
    "floats": pa.list_(pa.float64()),
}


def arrow_schema(schema: Schema) -> pa.Schema:
    return pa.schema([pa.field(name, _ARROW[kind]) for name, kind in schema.items()])


def arrow_table(columns: Columns, schema: pa.Schema) -> pa.Table:
    """A table with exactly the schema's columns. Raises KeyError for a missing one, ArrowInvalid for a wrong type."""
    arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)
