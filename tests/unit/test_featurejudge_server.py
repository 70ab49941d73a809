"""The feature judge asked as any OpenAI-compatible teacher is asked."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import openai
import pytest
import pytest_asyncio

import mira_stream.demo
from mira_stream.config import load_project
from mira_stream.demo.featurejudge.judge import FEATURES, freeform_reply, reply
from mira_stream.demo.featurejudge.server import ServedGroup, serving
from mira_stream.errors import UsageError
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric
from mira_stream.rubric.freeform import freeform_messages, parse_freeform

VIEW = "## Question\nWhat is it?\n\n## Answer\nIt is [A1] 10/10, the thing that is judged.\n"


def served(group: str) -> ServedGroup:
    project = load_project(Path(mira_stream.demo.__path__[0]) / "project", {})
    rubric = load_rubric(project.rubric_path(group))
    return ServedGroup(project.settings.groups[group].family, load_prompt(project.prompts_path(group), rubric), rubric)


GROUPS = {"text": served("text"), "qa": served("qa")}


@pytest_asyncio.fixture
async def teacher() -> AsyncIterator[openai.AsyncOpenAI]:
    async with serving(GROUPS) as base_url:
        client = openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)
        yield client
        await client.close()


async def ask(teacher: openai.AsyncOpenAI, system: str, user: str, model: str = "featurejudge") -> str | None:
    answer = await teacher.chat.completions.create(
        model=model, messages=[{"role": "system", "content": system}, {"role": "user", "content": user}], temperature=0
    )
    return answer.choices[0].message.content


@pytest.mark.parametrize("group", ["text", "qa"])
async def test_the_group_is_known_by_its_prompt(teacher: openai.AsyncOpenAI, group: str) -> None:
    family, prompt, rubric, layout, _ = GROUPS[group]
    assert await ask(teacher, prompt.system, prompt.user(VIEW)) == reply(family, VIEW, rubric.names, layout)


async def test_a_free_form_prompt_needs_no_group(teacher: openai.AsyncOpenAI) -> None:
    system, user = (message["content"] for message in freeform_messages(VIEW, "qa"))
    answer = await ask(teacher, system, user)
    assert answer == freeform_reply("qa", VIEW)
    assert [one.score for one in parse_freeform(answer or "")] == [one.score(VIEW) for one in FEATURES["qa"]]


async def test_a_rubric_of_other_dimensions_is_refused() -> None:
    family, prompt, rubric, *_ = GROUPS["qa"]
    anchors = (msgspec.structs.replace(rubric.anchors[0], name="Musicality"), *rubric.anchors[1:])
    foreign = ServedGroup(family, prompt, msgspec.structs.replace(rubric, anchors=anchors))
    async with serving({"qa": foreign}) as base_url:
        client = openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="Musicality"):
            await ask(client, prompt.system, prompt.user(VIEW))
        await client.close()


async def test_what_an_answer_says_of_itself(teacher: openai.AsyncOpenAI) -> None:
    prompt = GROUPS["qa"].prompt
    answer = await teacher.chat.completions.create(
        model="featurejudge",
        messages=[{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user(VIEW)}],
    )
    assert "no language model" in (answer.system_fingerprint or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 100
    assert [model.id for model in (await teacher.models.list()).data] == ["featurejudge"]


async def test_prompts_of_nobody_are_refused(teacher: openai.AsyncOpenAI) -> None:
    text, qa = GROUPS["text"].prompt, GROUPS["qa"].prompt
    for system, user in [("Judge this.", text.user(VIEW)), (text.system + " ", text.user(VIEW)), (qa.system, VIEW)]:
        with pytest.raises(openai.BadRequestError, match="no group served here"):
            await ask(teacher, system, user)


async def test_another_model_is_not_found(teacher: openai.AsyncOpenAI) -> None:
    prompt = GROUPS["text"].prompt
    with pytest.raises(openai.NotFoundError, match="serves 'featurejudge'"):
        await ask(teacher, prompt.system, prompt.user(VIEW), model="kimi")


async def test_requests_it_cannot_answer(teacher: openai.AsyncOpenAI) -> None:
    user: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.BadRequestError, match="one system and one user message"):
        await teacher.chat.completions.create(model="featurejudge", messages=user)
    with pytest.raises(openai.BadRequestError, match="stream is not offered"):
        await teacher.chat.completions.create(model="featurejudge", messages=user, stream=True)
    with pytest.raises(openai.BadRequestError, match="length"):
        await teacher.chat.completions.create(model="featurejudge", messages=[])


async def test_a_port_in_use_is_said() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match="port_in_use"):
            async with serving(GROUPS, other.getsockname()[1]):
                pass


async def test_the_port_is_free_afterwards() -> None:
    async with serving(GROUPS) as first:
        port = int(first.rsplit(":", 1)[1].split("/")[0])
    async with serving(GROUPS, port) as second:
        assert second == first
