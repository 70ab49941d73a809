"""What POST /v1/documents answers, and the OpenAPI description of it, out of the same structs."""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from mira_stream.errors import DocumentError
from mira_stream.ingest.posted import Posted, Taken
from mira_stream.streaming.intake import Outcome


class Receipt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One document of a request, by its place in it. not_taken: good, but the request was refused for others."""

    index: int
    status: Literal["accepted", "duplicate", "conflict", "invalid", "not_taken"]
    id: str | None = None
    reason: str | None = None
    error: str | None = None


class Problem(Struct, frozen=True, kw_only=True):
    code: str
    cause: str


class Receipts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """202: all documents are in the log. Any other status: none was taken by this request, and `error` says why; after
    503 alone that is not known, and the same request may be posted again."""

    documents: list[Receipt] = []
    error: Problem | None = None


class Refusal(NamedTuple):
    status: int
    code: str
    cause: str
    retry_after_s: int | None = None


class Answer:
    def __init__(self, refusal: Refusal | None, receipts: Sequence[Receipt] = ()) -> None:
        self.status = 202 if refusal is None else refusal.status
        self.code = "" if refusal is None else refusal.code
        self._refusal = refusal
        self._receipts = list(receipts)

    @classmethod
    def none_taken(cls, status: int, found: Sequence[Taken | DocumentError]) -> "Answer":
        """Some are no documents."""
        receipts = [
            Receipt(index=index, status="invalid", reason=entry.reason, error=_shown(entry.error))
            if isinstance(entry, DocumentError)
            else Receipt(index=index, status="not_taken", id=entry.id)
            for index, entry in enumerate(found)
        ]
        bad = sum(receipt.status == "invalid" for receipt in receipts)
        return cls(
            Refusal(status, "documents_invalid", f"{bad} of {len(found)} are no documents; none taken"), receipts
        )

    @classmethod
    def conflicting(cls, documents: Sequence[Taken], outcomes: Sequence[Outcome]) -> "Answer":
        receipts = [
            Receipt(index=index, status="not_taken" if outcome == "accepted" else outcome, id=one.id)
            for index, (one, outcome) in enumerate(zip(documents, outcomes, strict=True))
        ]
        many = outcomes.count("conflict")
        cause = f"under {many} of {len(outcomes)} ids there is another document; none taken"
        return cls(Refusal(409, "id_conflict", cause), receipts)

    @classmethod
    def committed(cls, documents: Sequence[Taken], outcomes: Sequence[Outcome]) -> "Answer":
        return cls(
            None,
            [
                Receipt(index=index, status=outcome, id=one.id)
                for index, (one, outcome) in enumerate(zip(documents, outcomes, strict=True))
            ],
        )

    def headers(self) -> dict[str, str]:
        after = None if self._refusal is None else self._refusal.retry_after_s
        return {"cache-control": "no-store"} | ({} if after is None else {"retry-after": str(after)})

    def body(self) -> bytes:
        refusal = self._refusal
        problem = None if refusal is None else Problem(code=refusal.code, cause=refusal.cause)
        return msgspec.json.encode(Receipts(documents=self._receipts, error=problem))


def _shown(text: str) -> str:
    """An error may quote what was sent; it is cut, and is text."""
    return text.encode(errors="replace")[:500].decode(errors="ignore")


CONTENTS: Final = {"text": "string", "messages": "array", "parts": "object"}
"""A document has exactly one of these that is not null."""
NAMED_SOURCES_MAX: Final = 50
STATUSES: Final = {
    "202": "All documents are in the log.",
    "400": "The body ended too early.",
    "401": "The token is missing or wrong.",
    "403": "The page is of another origin.",
    "408": "The body came too slowly.",
    "409": "Under an id there is another document; none taken.",
    "413": "The request, or a document of it, is too large; none taken.",
    "415": "Neither JSON nor NDJSON, or compressed.",
    "421": "The Host header is not a name of this service.",
    "422": "Some are no documents; none taken.",
    "429": "The pipe is full; nothing taken. Wait for Retry-After seconds.",
    "503": "The broker cannot be used, or the service stops. Post it again.",
}


def openapi(bytes_max: int, documents_max: int, sources: Sequence[str]) -> bytes:
    """The OpenAPI 3.1 description; it names the sources unless they are many."""
    (posted, receipts), components = msgspec.json.schema_components(
        [Posted, Receipts], ref_template="#/components/schemas/{name}"
    )
    if len(sources) <= NAMED_SOURCES_MAX:
        components["Posted"]["properties"]["source"]["enum"] = list(sources)
    components["Posted"]["oneOf"] = [
        {"required": [name], "properties": {name: {"type": kind}}} for name, kind in CONTENTS.items()
    ]
    several = {"type": "array", "items": posted, "minItems": 1}
    retry = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    answers: dict[str, Any] = {
        status: {"description": said, "content": {"application/json": {"schema": receipts}}}
        | ({"headers": retry} if status in ("429", "503") else {})
        for status, said in STATUSES.items()
    }
    post = {
        "operationId": "postDocuments",
        "summary": "Take documents into the stream",
        "description": f"At most {documents_max} documents and {bytes_max} bytes. A request is taken whole or not at "
        "all. An id that is in the log with the same document is a duplicate, which is no error.",
        "parameters": [{"name": "traceparent", "in": "header", "required": False, "schema": {"type": "string"}}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [posted, several]}},
                "application/x-ndjson": {"schema": {"type": "string", "description": "One document a line."}},
            },
        },
        "responses": answers,
    }
    description = {
        "openapi": "3.1.0",
        "info": {"title": "mira-stream: documents", "version": "1"},
        "paths": {
            "/v1/documents": {"post": post},
            "/openapi.json": {
                "get": {
                    "operationId": "describe",
                    "summary": "This description",
                    "responses": {
                        "200": {"description": "OpenAPI.", "content": {"application/json": {"schema": {}}}},
                        "401": answers["401"],
                    },
                }
            },
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }
    return msgspec.json.encode(description)
