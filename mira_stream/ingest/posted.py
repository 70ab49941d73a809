"""A posted body -> documents: one JSON document, an array of them, or one a line. Pure."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b, sha256
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from mira_stream.errors import DocumentError
from mira_stream.ingest.chat import normalise
from mira_stream.ingest.content import Content, id_of_content
from mira_stream.ingest.fields import check, plain
from mira_stream.ingest.mapping import ID_BYTES_MAX, JUDGED
from mira_stream.ingest.reading import RECORD_BYTES_MAX, RECORD_ROOM_BYTES
from mira_stream.messages import SOURCE_PATTERN, Document, Parts, decoder, encode
from mira_stream.sections import Family

Shape = Literal["json", "ndjson"]
TRUNCATED: Final = "Input data was truncated"


class PostedParts(Struct, kw_only=True, forbid_unknown_fields=True):
    question: str
    answer: str
    think: str | None = None


class Posted(Struct, kw_only=True, forbid_unknown_fields=True):
    """A document as it is posted: exactly one of `text`, `messages`, `parts`, whichever its source's group judges.

    Without an `id` its source and content name it. `meta` goes unchanged into the export. `event_time_ms`: milliseconds
    since 1970.
    """

    source: Annotated[str, Meta(pattern=SOURCE_PATTERN)]
    id: Annotated[str, Meta(min_length=1, max_length=ID_BYTES_MAX)] | None = None
    text: str | None = None
    messages: list[dict[str, Any]] | None = None
    parts: PostedParts | None = None
    tokens: Annotated[int, Meta(ge=0, lt=2**53)] | None = None
    event_time_ms: Annotated[int, Meta(ge=0, lt=2**53)] | None = None
    meta: dict[str, msgspec.Raw] = {}


class Place(NamedTuple):
    """Where documents of a source go."""

    topic: str
    family: Family


class Taken(NamedTuple):
    """A document that may go into the log. `mark` tells it from another of the same id."""

    id: str
    mark: bytes
    topic: str
    value: bytes


_posted: Final = msgspec.json.Decoder(Posted)
_array: Final = msgspec.json.Decoder(list[msgspec.Raw])
_document: Final = decoder(Document)


def mark_of(document: Document) -> bytes:
    """A hash of all that a document says, wherever it was read from: 16 bytes."""
    return blake2b(encode(replace(document, ref=None)), digest_size=16).digest()


class Reception:
    """`places`: the sources that documents are taken of. `inline_bytes_max` limits a document's content."""

    def __init__(self, places: Mapping[str, Place], inline_bytes_max: int) -> None:
        self.sources = sorted(places)
        self._places = places
        self._inline_bytes_max = inline_bytes_max

    def read(self, body: bytes, shape: Shape) -> list[Taken | DocumentError]:
        """One entry a document, in order; empty if the body holds none."""
        return [self._take(raw) for raw in _documents(body, shape)]

    def _take(self, raw: "bytes | msgspec.Raw") -> Taken | DocumentError:
        try:
            return self._taken(raw)
        except DocumentError as error:
            return error

    def _taken(self, raw: "bytes | msgspec.Raw") -> Taken:
        posted = _decoded(raw)
        place = self._places.get(posted.source)
        if place is None:
            raise DocumentError("unknown_source", f"mira.toml has no source {posted.source!r} in a group")
        encoded = _content(posted, place.family)
        content, data = encoded
        if len(data) > self._inline_bytes_max:
            raise DocumentError("too_large", f"content of {len(data)} bytes; at most {self._inline_bytes_max}")
        check(dict(posted.meta))
        id_ = posted.id or id_of_content(posted.source, data)
        if len(id_.encode()) > ID_BYTES_MAX:
            raise DocumentError("invalid_document", f"id: longer than {ID_BYTES_MAX} bytes")
        value = encode(
            Document(
                id=id_,
                source=posted.source,
                text=content.text,
                messages=content.messages,
                parts=content.parts,
                sha256=sha256(data).hexdigest(),
                bytes=len(data),
                tokens=posted.tokens,
                event_time_ms=posted.event_time_ms,
                meta=dict(posted.meta),
            )
        )
        most = min(self._inline_bytes_max + RECORD_ROOM_BYTES, RECORD_BYTES_MAX)
        if len(value) > most:
            raise DocumentError("too_large", f"{len(value)} bytes with its meta; at most {most}")
        return Taken(id_, mark_of(_document.decode(value)), place.topic, value)


def _documents(body: bytes, shape: Shape) -> Iterator["bytes | msgspec.Raw"]:
    """A body that is no JSON is one document, which says so when it is decoded."""
    if shape == "ndjson":
        yield from (line for line in body.split(b"\n") if line.strip())
    elif body.lstrip()[:1] == b"[":
        try:
            yield from _array.decode(body)
        except (msgspec.DecodeError, RecursionError):
            yield body
    elif body.strip():
        yield body


def _decoded(raw: "bytes | msgspec.Raw") -> Posted:
    try:
        bytes(raw).decode()
        return _posted.decode(raw)
    except UnicodeDecodeError as error:
        raise DocumentError("invalid_utf8", f"byte {error.start}: {error.reason}") from None
    except msgspec.ValidationError as error:
        hint = ": a reference cannot be posted, post the content" if "`ref`" in str(error) else ""
        raise DocumentError("invalid_document", f"{error}{hint}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise DocumentError("invalid_json", _why(error, bytes(raw))) from None


def _why(error: Exception, raw: bytes) -> str:
    """msgspec calls half of a surrogate pair, which Python's parser takes, an end that came too early."""
    if str(error) == TRUNCATED:
        with suppress(ValueError, RecursionError):
            json.loads(raw)
            return "a \\u escape is half of a surrogate pair, and no character"
    return str(error)


def _content(posted: Posted, family: Family) -> tuple[Content, bytes]:
    """The content that the group judges, and its bytes."""
    given = [name for name in JUDGED.values() if getattr(posted, name) is not None]
    wanted = JUDGED[family]
    if not given:
        raise DocumentError("invalid_document", f"no content: `{wanted}` is missing")
    if given != [wanted]:
        raise DocumentError("wrong_format", f"the group judges `{wanted}`; the document has {', '.join(given)}")
    messages = None if posted.messages is None else normalise(plain(msgspec.Raw(msgspec.json.encode(posted.messages))))
    parts = posted.parts
    content = Content(
        text=posted.text,
        messages=messages,
        parts=None if parts is None else Parts(question=parts.question, answer=parts.answer, think=parts.think or None),
    )
    return content, content.encode()
