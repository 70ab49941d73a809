"""Reads one file of a corpus: every row becomes a document or a dead letter, in order, none is left out."""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO, Final, NamedTuple

import msgspec

from mira_stream.errors import DataLossError, DocumentError
from mira_stream.ingest.fields import Fields, decode_row
from mira_stream.ingest.files import CorpusFile, unreadable
from mira_stream.ingest.lines import HEAD_BYTES, LINE_BYTES_MAX, Giant, Line, giant_of, read_lines
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.ports import BadRow, Compression, Readers
from mira_stream.messages import DeadLetter, Document, Ref, encode

RECORD_ROOM_BYTES: Final = 100_000
"""What JSON's escapes, the other columns and the headers may add to a content of `inline_bytes_max` bytes. With the
default this stays under the 1,048,588 bytes that a broker takes for a record unless told otherwise."""
RECORD_BYTES_MAX: Final = 16 * 2**20 - RECORD_ROOM_BYTES
ERROR_BYTES_MAX: Final = 2_000
BOM: Final = b"\xef\xbb\xbf"

_raw_row: Final = msgspec.json.Encoder(enc_hook=str)


class Reading(NamedTuple):
    """One row read: an encoded Document, or an encoded DeadLetter if `rejected`. `next`: where to go on."""

    next: int
    id: str | None
    value: bytes
    rejected: bool


def read_file(file: CorpusFile, etag: str, mapping: RowMapping, start: int, readers: Readers) -> Iterator[Reading]:
    """Rows from position `start` on: a byte of a plain JSON Lines file, else a row (a line, if compressed).

    Blank lines are no rows. Raises ConfigError if the file cannot be opened and DataLossError if it is damaged;
    what was yielded before is good.
    """
    read = {
        "jsonl": _plain_lines,
        "jsonl.gz": _compressed_lines,
        "jsonl.zst": _compressed_lines,
        "parquet": _parquet_rows,
        "text": _text_file,
    }[file.format]
    try:
        yield from read(file, _Rows(etag, file.uri, mapping), start, readers)
    except (PermissionError, FileNotFoundError, IsADirectoryError) as error:
        raise unreadable(file.path, error) from None
    except OSError as error:
        raise DataLossError(
            "source_damaged",
            f"{file.path}: {error}",
            "put the whole file in its place: `produce watch` goes on by itself behind what was read before, `produce "
            "files` when it is started again",
        ) from None


class _Rows:
    """Turns what was found at a place of one file into a Reading."""

    def __init__(self, etag: str, uri: str, mapping: RowMapping) -> None:
        self._etag = etag
        self._uri = uri
        self._mapping = mapping
        self._most = min(mapping.inline_bytes_max + RECORD_ROOM_BYTES, RECORD_BYTES_MAX)

    def ref(self, row: int | None = None, byte: int | None = None) -> Ref:
        return Ref(uri=self._uri, etag=self._etag, row=row, byte=byte)

    def line(self, data: bytes | Giant, ref: Ref, next_: int) -> Reading:
        if isinstance(data, Giant):
            error = DocumentError("too_large", f"a line of {data.size} bytes; at most {LINE_BYTES_MAX} are read")
            return self._rejected(error, data, None, ref, next_)
        data = data.strip()
        columns: Fields = {}
        try:
            columns = decode_row(data)
            return self._accepted(self._mapping.document(columns.copy(), ref), next_)
        except DocumentError as error:
            return self._rejected(error, data, self._id(columns), ref, next_)

    def row(self, row: Fields | BadRow, ref: Ref, next_: int) -> Reading:
        if isinstance(row, BadRow):
            return self._rejected(DocumentError(row.reason, row.error), b"", None, ref, next_)
        try:
            return self._accepted(self._mapping.document(row.copy(), ref), next_)
        except DocumentError as error:
            return self._rejected(error, _raw_row.encode(row), self._id(row), ref, next_)

    def text(self, data: bytes, ref: Ref, next_: int) -> Reading:
        def document() -> Document:
            try:
                return self._mapping.text_document(data.decode("utf-8-sig"), ref)
            except UnicodeDecodeError as error:
                raise DocumentError("invalid_utf8", f"byte {error.start}: {error.reason}") from None

        try:
            return self._accepted(document(), next_)
        except DocumentError as error:
            return self._rejected(error, data, None, ref, next_)

    def giant(self, stream: BinaryIO, ref: Ref, next_: int) -> Reading:
        giant = giant_of(stream)
        error = DocumentError(
            "too_large", f"content of {giant.size} bytes; inline_bytes_max is {self._mapping.inline_bytes_max}"
        )
        return self._rejected(error, giant, None, ref, next_)

    def holds(self, content_bytes: int) -> bool:
        return content_bytes <= self._mapping.inline_bytes_max + len(BOM)

    def _accepted(self, document: Document, next_: int) -> Reading:
        try:
            value = encode(document)
        except (TypeError, OverflowError) as error:
            raise DocumentError("invalid_document", f"a column JSON cannot hold: {error}") from None
        if len(value) > self._most:
            raise DocumentError(
                "too_large", f"{len(value)} bytes with its other columns; at most {self._most} fit a record"
            )
        return Reading(next_, document.id, value, False)

    def _rejected(self, error: DocumentError, raw: bytes | Giant, id_: str | None, ref: Ref, next_: int) -> Reading:
        whole = raw if isinstance(raw, Giant) else Giant(sha256(raw).hexdigest(), len(raw), raw[:HEAD_BYTES])
        letter = DeadLetter(
            stage="produce",
            reason=error.reason,
            error=error.error.encode(errors="replace")[:ERROR_BYTES_MAX].decode(errors="ignore"),
            id=id_,
            source=self._mapping.source,
            ref=ref,
            sha256=whole.sha256,
            bytes=whole.size,
            head=b64encode(whole.head).decode(),
        )
        return Reading(next_, id_, encode(letter), True)

    def _id(self, columns: Fields) -> str | None:
        """The id of a rejected row, if it has a good one."""
        try:
            return self._mapping.id(dict(columns))
        except DocumentError:
            return None


def _plain_lines(file: CorpusFile, rows: _Rows, start: int, readers: Readers) -> Iterator[Reading]:
    with file.path.open("rb", buffering=2**20) as stream:
        if start == 0 and stream.read(len(BOM)) == BOM:
            start = len(BOM)
        stream.seek(start)
        lines = read_lines(stream, start)
        for line in lines if file.end is None else _up_to(file.end, start, lines):
            if isinstance(line.data, Giant) or not line.data.isspace():
                yield rows.line(line.data, rows.ref(byte=line.start), line.end)


def _up_to(end: int, start: int, lines: Iterator[Line]) -> Iterator[Line]:
    """The lines before a byte at which one ended when it was looked for. Raises OSError if none ends there now."""
    reached = start
    while reached < end:
        line = next(lines, None)
        if line is None or line.end > end:
            raise OSError(f"no line ends at byte {end} any more: the file was written anew while it was read")
        reached = line.end
        yield line


def _compressed_lines(file: CorpusFile, rows: _Rows, start: int, readers: Readers) -> Iterator[Reading]:
    compression: Compression = "gzip" if file.format == "jsonl.gz" else "zstd"
    with readers.open_compressed(file.path, compression) as stream:
        for row, line in enumerate(read_lines(stream, 0)):
            data = line.data
            if row == 0 and isinstance(data, bytes):
                data = data.removeprefix(BOM)
            if row >= start and (isinstance(data, Giant) or (data and not data.isspace())):
                yield rows.line(data, rows.ref(row=row), row + 1)


def _parquet_rows(file: CorpusFile, rows: _Rows, start: int, readers: Readers) -> Iterator[Reading]:
    for row, columns in enumerate(readers.read_rows(file.path, start), start):
        yield rows.row(columns, rows.ref(row=row), row + 1)


def _text_file(file: CorpusFile, rows: _Rows, start: int, readers: Readers) -> Iterator[Reading]:
    if start > 0:
        return
    with file.path.open("rb") as stream:
        if rows.holds(file.path.stat().st_size):
            yield rows.text(stream.read(), rows.ref(), 1)
        else:
            yield rows.giant(stream, rows.ref(), 1)
