"""OpenAIEngine against a real HTTP server on localhost that fails in every way servers fail."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from mira_stream.errors import ConfigError, DependencyError, EngineError
from mira_stream.openai_engine import OpenAIEngine
from mira_stream.openai_engine.endpoints import Endpoints
from mira_stream.scorecard import TokenLogprobs
from mira_stream.scoring.engine import Request, RequestRefused

REQUEST = Request("r-1", [{"role": "user", "content": "text"}], 100, seed=7, regex="a+")
Handler = Callable[[HttpRequest], Awaitable[Response]]


class Server:
    """Counts calls, remembers bodies, answers what `answer` says."""

    def __init__(self) -> None:
        self.calls = 0
        self.bodies: list[dict[str, object]] = []
        self.answer: Handler = completion
        self.models: list[str] = ["student"]
        self.url = ""

    async def chat(self, request: HttpRequest) -> Response:
        self.calls += 1
        self.bodies.append(await request.json())
        return await self.answer(request)

    async def list_models(self, request: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})


async def completion(request: HttpRequest) -> Response:
    message = {"role": "assistant", "content": "[A1] 7/10"}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "token_ids": [5, 6]}
    usage: dict[str, object] = {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}
    usage |= {"prompt_tokens_details": {"cached_tokens": 4}}
    return JSONResponse(
        {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage, "prompt_token_ids": [1, 2, 3]}
    )


def status(code: int) -> Handler:
    async def answer(request: HttpRequest) -> Response:
        return JSONResponse({"error": {"message": "as the test says", "code": code}}, status_code=code)

    return answer


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    routes = [Route("/v1/chat/completions", server.chat, methods=["POST"]), Route("/v1/models", server.list_models)]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        http = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off"))
        http.config.load()
        task = asyncio.create_task(http.serve(sockets=[listener]))
        try:
            yield server
        finally:
            http.should_exit = http.force_exit = True
            await task


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(Server()) as one:
        yield one


@contextlib.asynccontextmanager
async def engine_at(*urls: str, timeout_s: float = 20.0, vllm_fields: bool = True) -> AsyncIterator[OpenAIEngine]:
    engine = OpenAIEngine(list(urls), "student", timeout_s=timeout_s, vllm_fields=vllm_fields)
    try:
        yield engine
    finally:
        await engine.stop()


async def test_a_completion_is_read_with_its_counts_and_token_ids(server: Server) -> None:
    async with engine_at(server.url) as engine:
        await engine.start()
        answer = await engine.generate(REQUEST)
    assert answer.text == "[A1] 7/10"
    assert answer.finish_reason == "stop"
    assert (answer.prompt_tokens, answer.generation_tokens, answer.cached_tokens) == (11, 2, 4)
    assert (answer.token_ids, answer.prompt_token_ids) == ((5, 6), (1, 2, 3))
    body = server.bodies[0]
    assert body["structured_outputs"] == {"regex": "a+"}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body["seed"], body["max_tokens"], body["model"]) == (7, 100, "student")


async def test_a_teacher_gets_nothing_that_only_vllm_knows(server: Server) -> None:
    async with engine_at(server.url, vllm_fields=False) as engine:
        await engine.generate(REQUEST)
    assert set(server.bodies[0]) == {"model", "messages", "max_tokens", "temperature", "top_p", "seed"}


TOP = [{"token": "7", "logprob": -0.1}, {"token": "8", "logprob": -2.5}, {"token": "9", "logprob": -9999.0}]
GIVEN = {"content": [{"token": "7", "logprob": -0.1, "bytes": None, "top_logprobs": TOP}]}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (GIVEN, (TokenLogprobs("7", -0.1, (("8", -2.5), ("9", -9999.0))),)),
        (None, ()),
        ({"content": None}, ()),
        ({"content": [{"token": "7", "logprob": None}]}, ()),
    ],
)
async def test_log_probabilities_are_asked_for_where_they_are_wanted(
    server: Server, given: object, read: tuple[TokenLogprobs, ...]
) -> None:
    async def answer(request: HttpRequest) -> Response:
        message = {"role": "assistant", "content": "7"}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": given}
        return JSONResponse({"id": "c", "object": "chat.completion", "choices": [choice]})

    server.answer = answer
    async with engine_at(server.url) as engine:
        assert (await engine.generate(REQUEST._replace(logprobs=20))).logprobs == read
        await engine.generate(REQUEST)
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 20)
    assert "logprobs" not in server.bodies[1]


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503])
async def test_a_busy_or_broken_server_is_retriable_and_asked_only_once(server: Server, code: int) -> None:
    server.answer = status(code)
    async with engine_at(server.url) as engine:
        with pytest.raises(EngineError, match=str(code)) as failure:
            await engine.generate(REQUEST)
    assert failure.value.retriable
    assert server.calls == 1


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_a_request_too_long_is_refused_for_good(server: Server, code: int) -> None:
    server.answer = status(code)
    async with engine_at(server.url) as engine:
        with pytest.raises(RequestRefused, match="as the test says"):
            await engine.generate(REQUEST)


@pytest.mark.parametrize("code", [401, 403, 404])
async def test_a_wrong_key_or_model_stops_the_service(server: Server, code: int) -> None:
    server.answer = status(code)
    async with engine_at(server.url) as engine:
        with pytest.raises(DependencyError, match="endpoint_refuses"):
            await engine.generate(REQUEST)


async def test_redirects_are_not_followed(server: Server) -> None:
    async with serving(Server()) as elsewhere:

        async def away(request: HttpRequest) -> Response:
            return RedirectResponse(f"{elsewhere.url}/chat/completions", status_code=307)

        server.answer = away
        async with engine_at(server.url) as engine:
            with pytest.raises(DependencyError, match="307"):
                await engine.generate(REQUEST)
        assert elsewhere.calls == 0


@pytest.mark.parametrize(
    "body",
    ["<h1>502 Bad Gateway</h1>", '{"error": {"message": "overloaded"}}', '{"choices": []}', "[]", "", "null", "7"],
)
async def test_a_200_that_is_no_completion_is_retriable_and_never_a_reply(server: Server, body: str) -> None:
    async def answer(request: HttpRequest) -> Response:
        return Response(body, media_type="application/json")

    async def page(request: HttpRequest) -> Response:
        return HTMLResponse(body)

    async with engine_at(server.url) as engine:
        for server.answer in (answer, page):
            with pytest.raises(EngineError) as failure:
                await engine.generate(REQUEST)
            assert failure.value.retriable


async def test_a_server_that_never_answers_runs_into_the_deadline(server: Server) -> None:
    never = asyncio.Event()

    async def drip(request: HttpRequest) -> Response:
        await never.wait()
        return Response("")

    server.answer = drip
    async with engine_at(server.url, timeout_s=0.1) as engine:
        with pytest.raises(EngineError, match="Timeout") as failure:
            await engine.generate(REQUEST)
        assert failure.value.retriable
    never.set()


async def test_a_dead_endpoint_is_left_alone_and_the_others_go_on(server: Server) -> None:
    dead = "http://127.0.0.1:9/v1"
    async with engine_at(dead, server.url) as engine:
        await engine.start()
        for _ in range(5):
            await engine.generate(REQUEST)
    assert server.calls == 5


async def test_it_does_not_serve_while_every_endpoint_is_away(server: Server) -> None:
    async with engine_at(server.url, "http://127.0.0.1:9/v1") as engine:
        await engine.start()
        assert engine.serves, "one of two is enough"
        server.answer = status(502)
        with pytest.raises(EngineError):
            await engine.generate(REQUEST)
        assert (engine.alive, engine.serves) == (True, False)
        server.answer = completion
        async with asyncio.timeout(30):
            while True:  # its rest is over after a second
                with contextlib.suppress(EngineError):
                    await engine.generate(REQUEST)
                    break
                await asyncio.sleep(0.1)
        assert engine.serves


async def test_what_an_endpoint_had_when_it_died_is_answered_by_the_other() -> None:
    async with serving(Server()) as one, serving(Server()) as two:
        gate, full = asyncio.Event(), asyncio.Event()

        async def held(request: HttpRequest) -> Response:
            if one.calls + two.calls == 8:
                full.set()
            await gate.wait()
            return await completion(request)

        async def broken(request: HttpRequest) -> Response:
            await held(request)
            return Response(status_code=502)

        one.answer, two.answer = broken, held
        async with engine_at(one.url, two.url) as engine:
            engine._endpoints._now = lambda: 100.0  # a rest does not end
            tasks = [asyncio.create_task(engine.generate(REQUEST)) for _ in range(8)]
            await full.wait()
            gate.set()
            await asyncio.gather(*tasks)
            assert (one.calls, two.calls) == (4, 8)
            await engine.generate(REQUEST)
            assert (one.calls, two.calls) == (4, 9), "a failing endpoint rests"


async def test_no_answer_at_start_is_a_dependency_that_is_down() -> None:
    async with engine_at("http://127.0.0.1:9/v1") as engine:
        with pytest.raises(DependencyError, match="endpoint_down") as caught:
            await engine.start()
    assert "base_urls of the group" in caught.value.fix


@pytest.mark.parametrize("code", [404, 405, 501])
async def test_a_server_that_lists_no_models_is_not_down(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    async def nothing(_: Server, request: HttpRequest) -> Response:
        return Response(status_code=code)

    monkeypatch.setattr(Server, "list_models", nothing)
    async with serving(Server()) as other, engine_at(other.url) as engine:
        await engine.start()
        assert (await engine.generate(REQUEST)).text == "[A1] 7/10"


async def test_a_model_that_is_not_served_is_named_at_start(server: Server) -> None:
    server.models = ["another"]
    async with engine_at(server.url) as engine:
        with pytest.raises(ConfigError, match="another"):
            await engine.start()


async def test_the_least_loaded_endpoint_is_taken() -> None:
    async with serving(Server()) as one, serving(Server()) as two:
        gate, full = asyncio.Event(), asyncio.Event()

        async def held(request: HttpRequest) -> Response:
            if one.calls + two.calls == 10:
                full.set()
            await gate.wait()
            return await completion(request)

        one.answer = two.answer = held
        async with engine_at(one.url, two.url) as engine:
            tasks = [asyncio.create_task(engine.generate(REQUEST)) for _ in range(10)]
            await full.wait()
            assert (one.calls, two.calls) == (5, 5)
            gate.set()
            await asyncio.gather(*tasks)


async def test_cancelling_the_call_closes_the_request(server: Server) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def wait(request: HttpRequest) -> Response:
        arrived.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()
        return Response("")

    server.answer = wait
    async with engine_at(server.url) as engine:
        task = asyncio.create_task(engine.generate(REQUEST))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()


def test_many_requests_that_fail_together_are_one_failure() -> None:
    clock = [100.0]
    endpoints = Endpoints(["http://127.0.0.1:1/v1"], now=lambda: clock[0])
    for _ in range(32):
        endpoints.failed(endpoints.all[0], "HTTP 500")
    assert endpoints.all[0].rests_until == 101.0


def test_a_failing_endpoint_rests_longer_each_time() -> None:
    clock = [0.0]
    endpoints = Endpoints(["http://a/v1", "http://b/v1"], now=lambda: clock[0])
    first = endpoints.all[0]
    rests = []
    for _ in range(7):
        clock[0] = first.rests_until
        with endpoints.use({"http://b/v1"}) as chosen:
            assert chosen is first
        endpoints.failed(first, "HTTP 500")
        with endpoints.use({"http://b/v1"}) as chosen:
            assert chosen is None
        rests.append(first.rests_until - clock[0])
    assert rests == [1, 2, 4, 8, 16, 30, 30]
    endpoints.answered(first)
    assert first.rests_until == 0


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://a/v1", "a:8000/v1", "http://", "http://u:p@a/v1", "http://a/v1?k=1", "http://a:x/"],
)
def test_only_plain_http_urls(url: str) -> None:
    with pytest.raises(ConfigError, match="endpoint_invalid"):
        Endpoints([url])
