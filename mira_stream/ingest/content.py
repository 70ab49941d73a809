"""A document's content as bytes: what is hashed, counted and limited."""

from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from mira_stream.errors import DocumentError
from mira_stream.messages import Message, Parts, Ref

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class Content(NamedTuple):
    """Exactly one of the three."""

    text: str | None = None
    messages: list[Message] | None = None
    parts: Parts | None = None

    def encode(self) -> bytes:
        """Text as UTF-8; messages and parts as the JSON they have on the wire. Document.sha256 and .bytes are of
        these bytes. Raises DocumentError(empty_document, invalid_utf8)."""
        if self.text is not None:
            return _text_bytes(self.text)
        if self.messages is not None:
            if not any(message.tool_calls or (message.content or "").strip() for message in self.messages):
                raise DocumentError("empty_document", "no message says anything")
            return _encode(self.messages)
        if self.parts is None or not self.parts.question.strip() or not self.parts.answer.strip():
            raise DocumentError("empty_document", "question or answer is empty")
        return _encode(self.parts)


def id_of(source: str, ref: Ref) -> str:
    """The id of a document without one: where it came from, hashed."""
    return sha256(_encode([source, ref])).hexdigest()[:32]


def id_of_content(source: str, content: bytes) -> str:
    """The id of a document with neither id nor ref."""
    return sha256(_encode([source]) + content).hexdigest()[:32]


def _text_bytes(text: str) -> bytes:
    if not text or text.isspace():
        raise DocumentError("empty_document", "nothing but white space")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DocumentError("invalid_utf8", f"text: {error.reason} at character {error.start}") from None
