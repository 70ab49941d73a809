"""What exporting needs of others: a writer of tables and a place to count."""

from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Protocol

from mira_stream.exporting.schema import Schema

Columns = Mapping[str, Sequence[object]]
"""Values by column name, all of one length."""


class TableWriter(Protocol):
    """Writes one table, a row group a call, to a stream it does not close."""

    def write(self, columns: Columns) -> None: ...

    def close(self) -> None:
        """Write the footer; the table is complete only then."""
        ...


OpenTable = Callable[[BinaryIO, Schema], TableWriter]


class ExportMetrics(Protocol):
    def content_error(self, source: str) -> None:
        """A selected document whose content could not be had."""
        ...
