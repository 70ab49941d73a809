"""POST /v1/documents: documents of a request into the log, answered when they are committed."""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mira_stream.errors import DocumentError, MiraError
from mira_stream.http.receipts import Answer, Refusal, openapi
from mira_stream.ingest.known import Room
from mira_stream.ingest.posted import Reception, Shape, Taken
from mira_stream.streaming.backlog import Backlog
from mira_stream.streaming.ingest_metrics import ACCEPTED, DUPLICATE, REJECTED, IngestMetrics
from mira_stream.streaming.intake import TOO_LARGE, Intake

FEED: Final = "http"
SHAPES: Final[dict[str, Shape]] = {"application/json": "json", "application/x-ndjson": "ndjson"}
BODY_S: Final = 30.0
RETRY_S: Final = 1
RETRY_LAG_S: Final = 5
BYTES_FULL: Final = Refusal(429, "pipe_full", "as many bytes are under way as may be", RETRY_S)
PARSE_APART_BYTES: Final = 256 * 1024
"""Larger bodies are parsed in a thread: the loop has others to answer."""
TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


class Documents:
    """`request_bytes_max` and `request_documents_max` limit one request; `room` all that are under way."""

    def __init__(
        self,
        intake: Intake,
        reception: Reception,
        room: Room,
        backlog: Backlog,
        metrics: IngestMetrics,
        *,
        request_bytes_max: int,
        request_documents_max: int,
    ) -> None:
        self._intake = intake
        self._reception = reception
        self._room = room
        self._backlog = backlog
        self._metrics = metrics
        self._bytes_max = request_bytes_max
        self._documents_max = request_documents_max
        metrics.limits(room.documents_max, room.bytes_max)

    def app(self) -> Starlette:
        """Unguarded: put it behind `guarded`."""
        described = openapi(self._bytes_max, self._documents_max, self._reception.sources)

        async def describe(_: Request) -> Response:
            return Response(described, media_type="application/json")

        return Starlette(
            routes=[
                Route("/v1/documents", self._post, methods=["POST"]),
                Route("/openapi.json", describe, methods=["GET"]),
            ],
            exception_handlers={404: self._no_such_path, 405: self._no_such_path},
        )

    async def _post(self, request: Request) -> Response:
        answer = await self._answered(request)
        if answer.code:
            self._metrics.refuse(answer.code)
        return Response(answer.body(), answer.status, answer.headers(), "application/json")

    async def _no_such_path(self, _: Request, error: Exception) -> Response:
        """As any other refusal: whoever asks reads JSON."""
        assert isinstance(error, HTTPException)
        refusal = Refusal(404, "path_unknown", "post to /v1/documents; /openapi.json describes it")
        if error.status_code == 405:
            refusal = Refusal(405, "method_unknown", "documents are posted; /openapi.json describes it")
        self._metrics.refuse(refusal.code)
        answer = Answer(refusal)
        return Response(answer.body(), answer.status, {**answer.headers(), **(error.headers or {})}, "application/json")

    async def _answered(self, request: Request) -> Answer:
        shape = SHAPES.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
        if shape is None or request.headers.get("content-encoding", "identity") != "identity":
            return Answer(Refusal(415, "media_type", f"send one of {', '.join(SHAPES)}, not compressed"))
        length = request.headers.get("content-length")
        expected = int(length) if length is not None and length.isascii() and length.isdigit() else 1
        if expected > self._bytes_max:
            return Answer(self._too_many_bytes())
        if self._intake.down is not None:
            return Answer(_unavailable(self._intake.down))
        if not self._room.fits(expected):
            return Answer(BYTES_FULL)
        pieces: list[bytes] = []
        try:
            refusal = await self._read(request, pieces)
            if refusal is not None:
                return Answer(refusal)
            return await self._taken(b"".join(pieces), shape, traceparent(request))
        finally:
            self._room.give(bytes_=sum(map(len, pieces)))
            self._hold()

    async def _read(self, request: Request, pieces: list[bytes]) -> Refusal | None:
        """Room is taken for each piece as it comes: what is only announced keeps nobody out."""
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                async for piece in request.stream():
                    size += len(piece)
                    if size > self._bytes_max:
                        return self._too_many_bytes()
                    if not self._room.take(bytes_=len(piece)):
                        return BYTES_FULL
                    pieces.append(piece)
                    self._hold()
        except TimeoutError:
            return Refusal(408, "body_slow", f"the body took longer than {BODY_S:g} s")
        except ClientDisconnect:
            return Refusal(400, "body_broken", "the body ended too early")
        return None

    async def _taken(self, body: bytes, shape: Shape, parent: bytes) -> Answer:
        apart = len(body) > PARSE_APART_BYTES
        read = self._reception.read
        found = await asyncio.to_thread(read, body, shape) if apart else read(body, shape)
        if not found:
            return Answer(Refusal(422, "no_documents", "the body holds no document"))
        if len(found) > self._documents_max:
            return Answer(
                Refusal(413, "too_many_documents", f"{len(found)} documents; at most {self._documents_max} a request")
            )
        found = [entry if isinstance(entry, DocumentError) else self._intake.refused(entry) or entry for entry in found]
        bad = [entry for entry in found if isinstance(entry, DocumentError)]
        if bad:
            self._metrics.took(FEED, REJECTED, len(bad))
            large = any(error.reason == "too_large" for error in bad)
            return Answer.none_taken(413 if large else 422, found)
        return await self._put([entry for entry in found if isinstance(entry, Taken)], parent)

    async def _put(self, documents: Sequence[Taken], parent: bytes) -> Answer:
        if (unknown := self._backlog.unknown()) is not None:
            return Answer(_unavailable(unknown))
        full = sorted({one.topic for one in documents if self._backlog.full(one.topic)})
        if full:
            cause = f"the scorer is more than {self._backlog.lag_max} offsets behind on {', '.join(full)}"
            return Answer(Refusal(429, "scorer_behind", cause, RETRY_LAG_S))
        if not self._room.take(documents=len(documents)):
            return Answer(Refusal(429, "pipe_full", "as many documents are under way as may be", RETRY_S))
        self._hold()
        try:
            outcomes = await self._intake.put(documents, parent)
        except MiraError as error:
            if error.code == TOO_LARGE:
                self._metrics.took(FEED, REJECTED, len(documents))
                return Answer(Refusal(413, error.code, f"{error.cause}; none taken"))
            return Answer(_unavailable(error))
        finally:
            self._room.give(documents=len(documents))
        if "conflict" in outcomes:
            self._metrics.took(FEED, REJECTED, outcomes.count("conflict"))
            return Answer.conflicting(documents, outcomes)
        counts = Counter(outcomes)
        self._metrics.took(FEED, ACCEPTED, counts["accepted"])
        self._metrics.took(FEED, DUPLICATE, counts["duplicate"])
        return Answer.committed(documents, outcomes)

    def _hold(self) -> None:
        self._metrics.holding(self._room.documents, self._room.bytes)

    def _too_many_bytes(self) -> Refusal:
        return Refusal(413, "body_too_large", f"a request has at most {self._bytes_max} bytes")


def traceparent(request: Request) -> bytes:
    """The request's trace, or a new one if it has none that is well formed (W3C Trace Context)."""
    given = request.headers.get("traceparent", "")
    if TRACEPARENT.match(given):
        return given.encode()
    chance = os.urandom(24).hex()
    return f"00-{chance[:32]}-{chance[32:]}-01".encode()


def _unavailable(error: MiraError) -> Refusal:
    return Refusal(503, error.code, f"{error.cause}: post it again, an id is taken once", RETRY_S)
