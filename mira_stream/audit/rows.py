"""One number for an exported row, equal for a decision and for the row that was made of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mira_stream.audit.origins import hashed
from mira_stream.exporting.schema import SCORES

COLUMNS: Final = tuple(SCORES)
Columns = Mapping[str, Sequence[object]]


def row_hashes(columns: Columns) -> Iterator[int]:
    """Of each row, over all columns of scores/."""
    for row in zip(*(columns[name] for name in COLUMNS), strict=True):
        yield hashed(repr(row).encode())
