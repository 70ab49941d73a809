"""From a record to the document in it, or the reason why there is none."""

from base64 import b64encode
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct

from mira_stream.errors import DocumentError
from mira_stream.messages import DeadLetter, Document, Origin, Ref, decoder
from mira_stream.records import Record
from mira_stream.sections import SourceSection

DOCUMENT_BYTES_MAX: Final = 16 * 2**20
ID_BYTES_MAX: Final = 1024
INTEGER_MAX: Final = 2**53
"""What every reader of JSON keeps exactly."""
ERROR_BYTES_MAX: Final = 2000
HEAD_BYTES_MAX: Final = 48 * 1024
"""Base64 makes 64 kB of it."""

_decoder: Final = decoder(Document)


class UnknownSource(DocumentError):
    """Neither mira.toml nor what was read of the policy topic has the document's source."""

    def __init__(self, source: str) -> None:
        super().__init__("unknown_source", f"source {source[:100]!r} is not in the project")
        self.source = source


def read_document(record: Record, sources: dict[str, SourceSection], group: str) -> Document:
    """Raises DocumentError: empty_document, too_large, invalid_utf8, invalid_json, invalid_document,
    unknown_source or wrong_group."""
    value = record.value
    if not value:
        raise DocumentError("empty_document", "the record has no value")
    if len(value) > DOCUMENT_BYTES_MAX:
        raise DocumentError("too_large", f"{len(value)} bytes, at most {DOCUMENT_BYTES_MAX} are read")
    document = _decode(value)
    _check(document)
    source = sources.get(document.source)
    if source is None:
        raise UnknownSource(document.source)
    if source.group is None:
        raise DocumentError("wrong_group", f"source {document.source!r} is in no group yet")
    if source.group != group:
        raise DocumentError("wrong_group", f"source {document.source!r} belongs to group {source.group!r}")
    return document


def _decode(value: bytes) -> Document:
    try:
        value.decode()
        return _decoder.decode(value)
    except UnicodeDecodeError as error:
        raise DocumentError("invalid_utf8", str(error)) from None
    except msgspec.ValidationError as error:
        raise DocumentError("invalid_document", str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise DocumentError("invalid_json", str(error)) from None


def _check(document: Document) -> None:
    if not 0 < len(document.id.encode()) <= ID_BYTES_MAX:
        raise DocumentError("invalid_document", f"id must have 1 to {ID_BYTES_MAX} bytes")
    contents = [name for name in ("text", "messages", "parts") if getattr(document, name) is not None]
    if len(contents) != 1:
        raise DocumentError("invalid_document", f"one of text, messages and parts is wanted, not {contents or 'none'}")
    places = (document.ref.row, document.ref.byte) if document.ref is not None else ()
    for number in (document.tokens, document.bytes, document.event_time_ms, *places):
        if number is not None and not 0 <= number <= INTEGER_MAX:
            raise DocumentError("invalid_document", f"a count or time of {str(number)[:30]} is out of range")


class _Names(Struct):
    """What can be told of a document that is not valid."""

    id: Any = None
    source: Any = None
    ref: Any = None


def dead_letter(
    record: Record, document: Document | None, error: DocumentError, lineage: str, attempts: int
) -> DeadLetter:
    """The letter that takes the document's place. `document` is None if it could not be read."""
    value = record.value or b""
    identifier, source, ref = _names(value, document)
    return DeadLetter(
        stage="score",
        reason=error.reason,
        error=cut_bytes(error.error, ERROR_BYTES_MAX),
        attempts=attempts,
        id=identifier,
        source=source,
        origin=origin_of(record),
        ref=ref,
        sha256=sha256(value).hexdigest(),
        bytes=len(value),
        head=b64encode(value[:HEAD_BYTES_MAX]).decode(),
        lineage=lineage,
    )


def _names(value: bytes, document: Document | None) -> tuple[str | None, str | None, Ref | None]:
    if document is not None:
        return document.id, document.source, document.ref
    if len(value) > DOCUMENT_BYTES_MAX:
        return None, None, None
    try:
        names = msgspec.json.decode(value, type=_Names)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None, None
    return _name(names.id, ID_BYTES_MAX), _name(names.source, 64), _ref(names.ref)


def _name(value: object, bytes_max: int) -> str | None:
    return value if isinstance(value, str) and 0 < len(value.encode()) <= bytes_max else None


def _ref(value: object) -> Ref | None:
    try:
        return msgspec.convert(value, Ref | None)
    except msgspec.ValidationError:
        return None


def origin_of(record: Record) -> Origin:
    return Origin(
        topic=record.topic, partition=record.partition, offset=record.offset, timestamp_ms=record.timestamp_ms
    )


def cut_bytes(text: str, bytes_max: int) -> str:
    """At most `bytes_max` bytes of UTF-8, no character cut in two."""
    return text if len(text) * 4 <= bytes_max else text.encode()[:bytes_max].decode(errors="ignore")
