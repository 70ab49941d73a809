"""OpenAITeacher over HTTP: what is charged, and which failures end what."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response

from mira_stream.config import load_project
from mira_stream.errors import ConfigError, DependencyError, EngineError
from mira_stream.openai_engine import OpenAITeacher
from mira_stream.openai_engine.engine import retry_after_s
from mira_stream.teaching import Journal, Limits, Question, Spending, ask_all
from mira_stream.teaching.cost import bound
from tests.unit.teaching_world import Clock, read
from tests.unit.test_openai_engine import Handler, Server, serving, status

QUESTION = Question("label/g/1", [{"role": "user", "content": "ü?"}], 50)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(Server()) as one:
        yield one


@pytest.fixture
async def teacher(server: Server, tmp_path: Path) -> AsyncIterator[OpenAITeacher]:
    (tmp_path / "mira.toml").write_text('[teacher]\nmodel = "student"\ntemperature = 0.5\nrequest_timeout_s = 5.0')
    one = OpenAITeacher.for_project(load_project(tmp_path, {}), server.url)
    await one.start()
    yield one
    await one.stop()


def saying(text: str, usage: dict[str, int] | None) -> Handler:
    async def answer(request: HttpRequest) -> Response:
        message = {"role": "assistant", "content": text}
        body = {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop",
                "message": message}], "usage": usage}  # fmt: skip
        return JSONResponse(body)

    return answer


async def test_an_answer_and_what_it_cost(server: Server, teacher: OpenAITeacher) -> None:
    server.answer = saying("12", {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
    assert await teacher.ask(QUESTION, 1) == ("12", "stop", 7, 3)
    await teacher.ask(QUESTION, 2)
    assert [body["seed"] for body in server.bodies] == [0, 1]
    assert server.bodies[0]["temperature"] == teacher.temperature == 0.5
    assert set(server.bodies[0]) == {"model", "messages", "max_tokens", "temperature", "top_p", "seed"}


async def test_an_answer_without_usage_is_charged_the_most(server: Server, teacher: OpenAITeacher) -> None:
    server.answer = saying("12", None)
    answer = await teacher.ask(QUESTION, 1)
    assert (answer.prompt_tokens, answer.generation_tokens) == bound(QUESTION)


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_a_refused_question_is_not_retriable(server: Server, teacher: OpenAITeacher, code: int) -> None:
    server.answer = status(code)
    with pytest.raises(EngineError) as caught:
        await teacher.ask(QUESTION, 1)
    assert not caught.value.retriable


@pytest.mark.parametrize("code", [401, 403, 404])
async def test_a_teacher_wrong_for_good(server: Server, teacher: OpenAITeacher, code: int) -> None:
    server.answer = status(code)
    with pytest.raises(DependencyError) as caught:
        await teacher.ask(QUESTION, 1)
    assert caught.value.fix.startswith("correct base_url of [teacher], model or api_key_env")


async def test_a_rate_limit_names_its_time(server: Server, teacher: OpenAITeacher) -> None:
    async def busy(request: HttpRequest) -> Response:
        return JSONResponse({"error": {"message": "slow down"}}, 429, headers={"Retry-After": "17"})

    server.answer = busy
    with pytest.raises(EngineError) as caught:
        await teacher.ask(QUESTION, 1)
    assert (caught.value.retriable, caught.value.retry_after_s) == (True, 17)


async def test_no_such_model_is_found_before_the_first_question(server: Server, tmp_path: Path) -> None:
    (tmp_path / "mira.toml").write_text('[teacher]\nmodel = "other"')
    one = OpenAITeacher.for_project(load_project(tmp_path, {}), server.url)
    with pytest.raises(ConfigError, match="endpoint_model"):
        await one.start()
    await one.stop()


@pytest.mark.parametrize(
    ("value", "seconds"), [("3", 3), ("0.5", 0.5), ("-1", None), ("nan", None), ("inf", None), ("Fri, 1 Jan", None)]
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": value}) == seconds
    assert retry_after_s({}) is None


async def test_a_teacher_that_fails_is_given_up_with_the_reason_and_what_was_not_sent_is_not_counted(
    server: Server, teacher: OpenAITeacher, tmp_path: Path
) -> None:
    """Its endpoint rests by the real clock: most of the tries within the patience send nothing."""
    server.answer = status(500)
    clock, heard = Clock(), [Spending()]
    asked = [Question(f"q/{n}", [{"role": "user", "content": str(n)}], 50) for n in range(4)]

    async def ask() -> None:
        with Journal(tmp_path / "j") as journal:
            results = ask_all(
                asked, teacher, read, journal=journal, limits=Limits(4), now=clock.now, sleep=clock.sleep,
                progress=heard.append,
            )  # fmt: skip
            async for _ in results:
                pass

    with pytest.raises(DependencyError, match="HTTP 500: Error code: 500 - as the test says") as end:
        await ask()
    assert end.value.code == "teacher_silent"
    assert "all endpoints rest after failures" in end.value.cause
    assert heard[-1].retries == server.calls - len({str(body["messages"]) for body in server.bodies})
    assert len(clock.slept) > server.calls


async def test_a_page_in_place_of_an_answer_is_told_as_one(server: Server, teacher: OpenAITeacher) -> None:
    async def page(request: HttpRequest) -> Response:
        return HTMLResponse("<!doctype html><title>Welcome</title>")

    server.answer = page
    with pytest.raises(EngineError, match=r"no chat completion but '<!doctype html.*: see base_url of .teacher."):
        await teacher.ask(QUESTION, 1)


async def test_over_http_all_are_asked_once(server: Server, teacher: OpenAITeacher, tmp_path: Path) -> None:
    calls = 0
    good = saying("4", {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})

    async def shaky(request: HttpRequest) -> Response:
        nonlocal calls
        calls += 1
        return await (status(429) if calls % 3 == 0 else good)(request)

    server.answer = shaky
    clock = Clock()
    asked = [Question(f"q/{n}", QUESTION.messages, 50) for n in range(30)]
    with Journal(tmp_path / "j") as journal:
        results = ask_all(
            asked, teacher, read, journal=journal, limits=Limits(5), now=clock.now, sleep=clock.sleep
        )  # fmt: skip
        assert [result async for _, result in results] == [4] * 30
        assert len(journal) == 30
