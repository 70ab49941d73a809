"""Row -> Document: which columns are what, for one source."""

from hashlib import sha256
from typing import Final

import msgspec

from mira_stream.errors import DocumentError
from mira_stream.ingest.chat import normalise
from mira_stream.ingest.content import Content, id_of
from mira_stream.ingest.fields import Fields, check, integer, milliseconds, plain, take
from mira_stream.messages import Document, Parts, Ref
from mira_stream.sections import Family, SourceSection

ID_BYTES_MAX: Final = 1024
JUDGED: Final[dict[Family, str]] = {"text": "text", "agent": "messages", "qa": "parts"}


class RowMapping:
    """Makes documents of one source out of rows; `family` says which content its group judges."""

    def __init__(self, source: str, section: SourceSection, family: Family, inline_bytes_max: int) -> None:
        self.source = source
        self.inline_bytes_max = inline_bytes_max
        self._section = section
        self._family = family

    def document(self, fields: Fields, ref: Ref) -> Document:
        """Takes the mapped columns out of `fields`; what is left becomes `meta`, unchanged.

        Raises DocumentError: invalid_json, invalid_utf8, invalid_document, wrong_format, empty_document, too_large.
        """
        section = self._section
        given_id = self.id(fields)
        content = self._content(fields)
        encoded = content.encode()
        if len(encoded) > self.inline_bytes_max:
            raise DocumentError(
                "too_large", f"content of {len(encoded)} bytes; inline_bytes_max is {self.inline_bytes_max}"
            )
        tokens = integer(take(fields, section.tokens), section.tokens) if section.tokens else None
        event_time = take(fields, section.event_time) if section.event_time else None
        if fields:
            check(fields)
        return Document(
            id=given_id or id_of(self.source, ref),
            source=self.source,
            text=content.text,
            messages=content.messages,
            parts=content.parts,
            ref=ref,
            sha256=sha256(encoded).hexdigest(),
            bytes=len(encoded),
            tokens=tokens,
            event_time_ms=milliseconds(event_time, section.event_time),
            meta=fields,
        )

    def text_document(self, text: str, ref: Ref) -> Document:
        """A whole text file as a document. Raises DocumentError like `document`."""
        return self.document({self._section.text: text}, ref)

    def id(self, fields: Fields) -> str | None:
        """Takes the id column; a whole number is its digits, so that 7 and "7" are one id. Raises
        DocumentError(invalid_document)."""
        value = take(fields, self._section.id)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DocumentError("invalid_document", f"{self._section.id}: an id is text or a whole number")
        text = str(value)
        if 4 * len(text) > ID_BYTES_MAX and len(text.encode("utf-8", "surrogatepass")) > ID_BYTES_MAX:
            raise DocumentError("invalid_document", f"{self._section.id}: longer than {ID_BYTES_MAX} bytes")
        return text

    def _content(self, fields: Fields) -> Content:
        found: Content | None
        if self._family == "text":
            found = self._text(fields)
        elif self._family == "agent":
            value = _embedded(take(fields, self._section.messages), self._section.messages)
            found = None if value is None else Content(messages=normalise(value))
        else:
            found = self._parts(fields)
        if found is None:
            raise self._absent(fields)
        return found

    def _text(self, fields: Fields) -> Content | None:
        value = take(fields, self._section.text)
        if value is not None and not isinstance(value, str):
            raise DocumentError("invalid_document", f"{self._section.text}: not text")
        return None if value is None else Content(text=value)

    def _parts(self, fields: Fields) -> Content | None:
        """The column of parts, or three columns: those mira.toml names, else `question`, `think`, `answer`."""
        section = self._section
        if not (section.question or section.answer):
            value = _embedded(take(fields, section.parts), section.parts)
            if value is not None:
                return Content(parts=_converted(value, section.parts))
        names = (section.question or "question", section.think or "think", section.answer or "answer")
        question, think, answer = (take(fields, name) for name in names)
        if question is None and answer is None:
            return None
        given = {"question": question, "think": think or None, "answer": answer}
        return Content(parts=_converted({name: value for name, value in given.items() if value is not None}, "row"))

    def _absent(self, fields: Fields) -> DocumentError:
        """What the group judges is missing; say so, and whether the row is of another family's format."""
        wanted = JUDGED[self._family]
        section = self._section
        columns = {"text": section.text, "messages": section.messages, "parts": section.parts}
        others = [name for name, column in columns.items() if name != wanted and take(dict(fields), column) is not None]
        if others:
            return DocumentError("wrong_format", f"the group judges `{wanted}`, the row has `{others[0]}`")
        return DocumentError("invalid_document", f"no column {columns[wanted]!r} to judge as `{wanted}`")


def _embedded(value: object, column: str) -> object:
    """Structured content may be written as text that holds JSON."""
    if not isinstance(value, str):
        return value
    try:
        return plain(msgspec.Raw(value.encode()))
    except DocumentError as error:
        raise DocumentError("invalid_document", f"{column}: text that is no JSON: {error.error}") from None


def _converted(value: object, column: str) -> Parts:
    try:
        return msgspec.convert(value, Parts)
    except msgspec.ValidationError as error:
        raise DocumentError("invalid_document", f"{column}: {error}") from None
