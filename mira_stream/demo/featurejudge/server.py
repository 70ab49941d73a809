"""The feature judge behind an OpenAI-compatible chat endpoint on localhost, so that the code that asks it is the
code that asks a real teacher.

It is a stand-in and no language model: `system_fingerprint` of every answer says so.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mira_stream.clock import now_ms
from mira_stream.demo.featurejudge.judge import FEATURES, MODEL, freeform_reply, reply
from mira_stream.errors import UsageError
from mira_stream.http import serve
from mira_stream.messages import Layout, Mode
from mira_stream.prompt import Prompt
from mira_stream.rubric.anchors import Rubric
from mira_stream.rubric.freeform import freeform_system, freeform_view
from mira_stream.sections import Family

FINGERPRINT: Final = "featurejudge: measured features, a stand-in and no language model"
HOST: Final = "127.0.0.1"
BYTES_A_TOKEN: Final = 4
"""Usage is counted in bytes / 4, rounded up: the judge has no tokenizer."""


class ServedGroup(NamedTuple):
    """A source group as the judge knows it. `mode` None: what `judge.reply` does by itself."""

    family: Family
    prompt: Prompt
    rubric: Rubric
    layout: Layout = "scores_first"
    mode: Mode | None = None


class ChatMessage(Struct, frozen=True):
    role: str
    content: str


class ChatRequest(Struct, frozen=True):
    """What is read of a request; sampling parameters change nothing here."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool = False


class Refused(Exception):
    """A request that cannot be judged: HTTP status and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def answer(request: ChatRequest, groups: Mapping[str, ServedGroup]) -> str:
    """The judge's reply: to a free-form prompt of any family, or to the anchored prompt of a served group.

    Raises Refused.
    """
    if request.model != MODEL:
        raise Refused(404, f"no model {request.model!r}; this endpoint serves {MODEL!r}")
    if request.stream:
        raise Refused(400, "stream is not offered")
    if [message.role for message in request.messages] != ["system", "user"]:
        raise Refused(400, "an anchored prompt has one system and one user message")
    system, user = (message.content for message in request.messages)
    for family in FEATURES:
        if system == freeform_system(family):
            return freeform_reply(family, freeform_view(user))
    for served in groups.values():
        prompt = served.prompt
        if system == prompt.system and user.startswith(prompt.before_document):
            view = prompt.view_of(user)
            try:
                return reply(served.family, view, served.rubric.names, served.layout, served.mode)
            except UsageError as error:
                raise Refused(400, error.cause) from None
    raise Refused(
        400, f"the prompt is that of no group served here ({', '.join(groups)}); was rubric or prompt changed?"
    )


def application(groups: Mapping[str, ServedGroup]) -> Starlette:
    """POST /v1/chat/completions and GET /v1/models."""
    read = msgspec.json.Decoder(ChatRequest).decode

    async def complete(request: Request) -> Response:
        try:
            asked = read(await request.body())
            return _json(200, _completion(asked, answer(asked, groups)))
        except msgspec.DecodeError as error:
            return _refusal(400, str(error))
        except Refused as refused:
            return _refusal(refused.status, refused.message)
        except ClientDisconnect:
            return _refusal(499, "whoever asked is gone")

    async def models(_: Request) -> Response:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "mira-stream"}
        return _json(200, {"object": "list", "data": [model]})

    return Starlette(
        routes=[Route("/v1/chat/completions", complete, methods=["POST"]), Route("/v1/models", models, methods=["GET"])]
    )


@asynccontextmanager
async def serving(groups: Mapping[str, ServedGroup], port: int = 0) -> AsyncIterator[str]:
    """Serve until the context ends; gives the base URL (`http://127.0.0.1:<port>/v1`). Port 0: any free one.

    Raises UsageError(port_in_use).
    """
    async with serve(application(groups), HOST, port) as url:
        yield f"{url}/v1"


def _completion(asked: ChatRequest, content: str) -> dict[str, object]:
    prompt_tokens = sum(_tokens(message.content) for message in asked.messages)
    generation_tokens = _tokens(content)
    identity = blake2b("\0".join(message.content for message in asked.messages).encode(), digest_size=12).hexdigest()
    return {
        "id": f"chatcmpl-{identity}",
        "object": "chat.completion",
        "created": now_ms() // 1000,
        "model": MODEL,
        "system_fingerprint": FINGERPRINT,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": generation_tokens,
            "total_tokens": prompt_tokens + generation_tokens,
        },
    }


def _tokens(content: str) -> int:
    return -(-len(content.encode()) // BYTES_A_TOKEN)


def _refusal(status: int, message: str) -> Response:
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    return _json(status, {"error": {"message": message, "type": kind, "param": None, "code": kind}})


def _json(status: int, body: dict[str, object]) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
