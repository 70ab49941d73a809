"""Dead letters as a person reads them: rows for the page, counts for the terminal. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mira_stream.demo.summary import UNKNOWN
from mira_stream.messages import DeadLetter, Ref

ROWS_MAX: Final = 100
ERROR_CHARACTERS_MAX: Final = 200
SOURCE_CHARACTERS_MAX: Final = 64


class DeadRow(NamedTuple):
    """One dead letter. `document`: its id, else its place in a file, else its origin as topic/partition@offset."""

    stage: str
    source: str
    document: str
    reason: str
    error: str


class DeadCount(NamedTuple):
    source: str
    stage: str
    reason: str
    letters: int


def dead_rows(letters: Sequence[DeadLetter]) -> tuple[list[DeadRow], int]:
    """The first `ROWS_MAX` by source, stage, reason and document; and how many more there are."""
    rows = sorted(map(_row, letters), key=lambda row: (row.source, row.stage, row.reason, row.document))
    return rows[:ROWS_MAX], max(0, len(rows) - ROWS_MAX)


def dead_counts(letters: Iterable[DeadLetter]) -> list[DeadCount]:
    """How many of each source ended where and why."""
    counts = Counter((_source(letter), letter.stage, letter.reason) for letter in letters)
    return [DeadCount(*key, count) for key, count in sorted(counts.items())]


def _row(letter: DeadLetter) -> DeadRow:
    error = _cut(letter.error, ERROR_CHARACTERS_MAX)
    return DeadRow(letter.stage, _source(letter), _document(letter), letter.reason, error)


def _document(letter: DeadLetter) -> str:
    if letter.id:
        return letter.id
    if letter.ref is not None:
        return _place(letter.ref)
    if letter.origin is not None:
        return f"{letter.origin.topic}/{letter.origin.partition}@{letter.origin.offset}"
    return "-"


def _place(ref: Ref) -> str:
    if ref.row is not None:
        return f"{ref.uri} row {ref.row}"
    return ref.uri if ref.byte is None else f"{ref.uri} byte {ref.byte}"


def _source(letter: DeadLetter) -> str:
    """The source as the document named it, which may be any text: nothing in it may steer a terminal."""
    name = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in letter.source or "")
    return _cut(name, SOURCE_CHARACTERS_MAX) or UNKNOWN


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
