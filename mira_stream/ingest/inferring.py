"""What a source's rows are: their family, and which column is what. Told from the first rows, refused in doubt."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from mira_stream.errors import DocumentError, UsageError
from mira_stream.ingest.fields import Fields, decode_row, milliseconds, plain
from mira_stream.ingest.files import CorpusFile, unreadable
from mira_stream.ingest.lines import Giant, read_lines
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.ports import BadRow, Readers
from mira_stream.messages import Ref
from mira_stream.sections import Family, SourceSection

ROWS: Final = 20
"""Looked at in every file."""
TEXT_BYTES: Final = 65_536
INLINE_BYTES_MAX: Final = 2**30
TEXT_COLUMNS: Final = ("text", "content", "body", "raw_content", "document", "code", "markdown", "html")
MESSAGES_COLUMNS: Final = ("messages", "conversation", "conversations", "trajectory", "chat", "turns", "history")
PAIRS: Final = (
    ("question", "answer"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("instruction", "response"),
    ("instruction", "output"),
    ("problem", "solution"),
    ("query", "response"),
)
THINK_COLUMNS: Final = ("think", "thinking", "reasoning", "reasoning_content", "thought")
ID_COLUMNS: Final = ("id", "doc_id", "document_id", "record_id", "uuid", "_id")
TOKEN_COLUMNS: Final = ("tokens", "token_count", "num_tokens", "n_tokens")
TIME_COLUMNS: Final = ("timestamp", "created_at", "created", "date", "time")
MAPPED: Final = ("id", "text", "messages", "parts", "question", "think", "answer", "tokens", "event_time")
"""Keys of [sources.S] that name a column."""

Row = dict[str, Any]


class Inferred(NamedTuple):
    """`columns`: keys of [sources.S] that differ from their defaults. `readable` of `rows` become documents."""

    family: Family
    columns: dict[str, str]
    rows: int
    readable: int
    example: str


def infer(name: str, rows: Sequence[Row], family: Family | None, given: Mapping[str, str]) -> Inferred:
    """`given` columns are taken as they are. Raises UsageError: rows_missing, columns_unknown,
    columns_ambiguous, rows_unreadable."""
    if not rows:
        raise UsageError(
            "rows_missing", f"{name}: its files hold no row", "name files that hold documents, or leave it out"
        )
    seen = list(dict.fromkeys(key for row in rows for key in row))
    found: dict[Family, dict[str, str]] = {}
    for one in ("text", "qa", "agent"):
        columns = _content(one, rows, seen, given)
        if columns is not None:
            found[one] = columns
    chosen = _chosen(name, found, family, seen)
    columns = found[chosen] | _beside(rows, seen) | dict(given)
    defaults = SourceSection(family=chosen)
    written = {key: column for key, column in columns.items() if getattr(defaults, key) != column}
    readable, trouble = _try(name, rows, chosen, columns)
    if not readable:
        raise UsageError("rows_unreadable", f"{name}: no row is a {chosen} document: {trouble}", _FIX)
    return Inferred(chosen, written, len(rows), readable, trouble)


_FIX: Final = "say what it is with --family NAME=text|qa|agent and --map NAME:key=column (keys as in [sources.S])"


def _chosen(name: str, found: Mapping[Family, object], family: Family | None, seen: Sequence[str]) -> Family:
    there = ", ".join(seen) or "none"
    if family is not None:
        if family not in found:
            raise UsageError("columns_unknown", f"{name}: no column looks like {family}; there are: {there}", _FIX)
        return family
    if not found:
        raise UsageError("columns_unknown", f"{name}: no column tells what to judge; there are: {there}", _FIX)
    if len(found) > 1:
        shown = "; ".join(f"{one} by {columns}" for one, columns in found.items())
        raise UsageError("columns_ambiguous", f"{name} could be {shown}", _FIX)
    return next(iter(found))


def _content(family: Family, rows: Sequence[Row], seen: Sequence[str], given: Mapping[str, str]) -> Row | None:
    """The columns that make a document of this family; None if there are none, or none that is sure."""
    if family == "text":
        return _one("text", [c for c in TEXT_COLUMNS if c in seen and _all(rows, c, _is_text)], given)
    if family == "agent":
        return _one("messages", [c for c in MESSAGES_COLUMNS if c in seen and _all(rows, c, _is_messages)], given)
    if "question" in given or "answer" in given:
        return {key: given.get(key, key) for key in ("question", "answer")}
    if "parts" in given or ("parts" in seen and _all(rows, "parts", _is_parts)):
        return {"parts": given.get("parts", "parts")}
    for question, answer in PAIRS:
        if _all(rows, question, _is_text) and _all(rows, answer, _is_text):
            pair = {} if (question, answer) == ("question", "answer") else {"question": question, "answer": answer}
            think = next((c for c in THINK_COLUMNS if c in seen), "")
            return pair | ({"think": think} if think and (pair or think != "think") else {})
    return None


def _one(key: str, columns: list[str], given: Mapping[str, str]) -> Row | None:
    """A column that is named as ours is taken before others; two others are in doubt, and none is."""
    if key in given:
        return {key: given[key]}
    return {key: columns[0]} if columns and (columns[0] == key or len(columns) == 1) else None


def _beside(rows: Sequence[Row], seen: Sequence[str]) -> dict[str, str]:
    """Columns for id, tokens and event time."""
    tests = (
        ("id", ID_COLUMNS, lambda value: isinstance(value, str | int) and not isinstance(value, bool)),
        ("tokens", TOKEN_COLUMNS, lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0),
        ("event_time", TIME_COLUMNS, _is_time),
    )
    found: dict[str, str] = {}
    for key, columns, test in tests:
        column = next((c for c in columns if c in seen and _all(rows, c, test)), None)
        if column is not None:
            found[key] = column
    return found


def _all(rows: Sequence[Row], column: str, test: Any) -> bool:
    """Whether the column is what is wanted wherever it is there, and is there in most rows."""
    values = [row[column] for row in rows if row.get(column) is not None]
    return 2 * len(values) > len(rows) and all(test(value) for value in values)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_messages(value: object) -> bool:
    value = _unpacked(value)
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "role" in one for one in value)


def _is_parts(value: object) -> bool:
    value = _unpacked(value)
    return isinstance(value, dict) and {"question", "answer"} <= value.keys()


def _is_time(value: object) -> bool:
    try:
        return milliseconds(value, "") is not None
    except DocumentError:
        return False


def _unpacked(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value


def _try(name: str, rows: Sequence[Row], family: Family, columns: Mapping[str, str]) -> tuple[int, str]:
    """How many of the rows become documents with these columns, and why the first other does not."""
    section = msgspec.convert({"family": family, **columns}, SourceSection)
    mapping = RowMapping(name, section, family, INLINE_BYTES_MAX)
    trouble, readable = "", 0
    for row in rows:
        try:
            mapping.document(dict(row), Ref(uri=name))
            readable += 1
        except DocumentError as error:
            trouble = trouble or f"{error.reason}: {error.error}"
    return readable, trouble


def first_rows(file: CorpusFile, readers: Readers, count: int = ROWS) -> list[Row]:
    """The first rows that can be decoded, in whatever format. Raises ConfigError if the file cannot be read."""
    try:
        return list(islice(_decoded(file, readers), count))
    except OSError as error:
        raise unreadable(file.path, error) from None


def _decoded(file: CorpusFile, readers: Readers) -> Iterator[Row]:
    if file.format == "text":
        with file.path.open("rb") as stream:
            yield {"text": stream.read(TEXT_BYTES).decode(errors="replace")}
    elif file.format == "parquet":
        for row in readers.read_rows(file.path, 0):
            if not isinstance(row, BadRow):
                yield row
    else:
        yield from _lines(file, readers)


def _lines(file: CorpusFile, readers: Readers) -> Iterator[Row]:
    compressions: Final = {"jsonl.gz": "gzip", "jsonl.zst": "zstd"}
    compression = compressions.get(file.format)
    opened = file.path.open("rb") if compression is None else readers.open_compressed(file.path, compression)  # type: ignore[arg-type]
    with opened as stream:
        for line in islice(read_lines(stream, 0), 10 * ROWS):
            if isinstance(line.data, Giant) or line.data.isspace():
                continue
            try:
                fields: Fields = decode_row(line.data.removeprefix(b"\xef\xbb\xbf").strip())
                yield {name: plain(value) for name, value in fields.items()}
            except DocumentError:
                continue
