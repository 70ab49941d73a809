"""A stand-in for an OpenAI-compatible server that can be busy, slow or silent. It has no model, and says so."""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mira_stream.scoring.engine import Request
from mira_stream.testing.engine import hashed_answer

Mood = Literal["well", "503", "429", "loris", "slow"]


STAND_IN: Final = "a scripted stand-in without a model"


class Endpoint:
    """Answers as its mood is, after `reply_s` seconds when it is well; counts requests. Messages of more characters
    together than `characters_max` it refuses, as a server does what is longer than its context."""

    def __init__(
        self,
        reply_s: float = 0.02,
        answer: Callable[[Request], str] = hashed_answer,
        characters_max: int | None = None,
    ) -> None:
        self.reply_s = reply_s
        self.characters_max = characters_max
        self.mood: Mood = "well"
        self._answer = answer
        self._left = math.inf
        self._going_on = asyncio.Event()
        self.requests = 0
        self.url = ""

    def stand_still_behind(self, answers: int) -> None:
        """Give so many more answers, and all others when it goes on."""
        self._left = answers
        self._going_on.clear()

    def go_on(self) -> None:
        self._left = math.inf
        self._going_on.set()

    async def chat(self, request: HttpRequest) -> Response:
        self.requests += 1
        body = await request.json()
        if self.mood in ("503", "429"):
            headers = {"Retry-After": "1"} if self.mood == "429" else {}
            return JSONResponse({"error": {"message": "as the test says"}}, status_code=int(self.mood), headers=headers)
        characters = sum(len(message["content"]) for message in body["messages"])
        if self.characters_max is not None and characters > self.characters_max:
            return JSONResponse({"error": {"message": f"{characters} characters are too many"}}, status_code=400)
        self._left -= 1
        if self._left < 0:
            await self._going_on.wait()
        text = self._answer(Request("endpoint", body["messages"], body["max_tokens"]))
        answer = JSONResponse(
            {
                "id": "c",
                "object": "chat.completion",
                "system_fingerprint": STAND_IN,
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 100, "total_tokens": 111},
            }
        )
        if self.mood == "loris":
            return StreamingResponse(self._drip(bytes(answer.body)), media_type="application/json")
        await asyncio.sleep(60.0 if self.mood == "slow" else self.reply_s)
        return answer

    async def models(self, request: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def forget(self, request: HttpRequest) -> Response:
        """As vLLM's own path for measuring: it has no cache."""
        return JSONResponse({"success": True})

    async def _drip(self, body: bytes) -> AsyncIterator[bytes]:
        """A byte a second."""
        for at in range(len(body)):
            yield body[at : at + 1]
            await asyncio.sleep(1.0)


@contextlib.asynccontextmanager
async def serving(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    routes = [
        Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
        Route("/v1/models", endpoint.models),
        Route("/reset_prefix_cache", endpoint.forget, methods=["POST"]),
    ]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        endpoint.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        http = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off"))
        http.config.load()
        task = asyncio.create_task(http.serve(sockets=[listener]))
        try:
            yield endpoint
        finally:
            http.should_exit = http.force_exit = True
            await task
