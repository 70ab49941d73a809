"""Scoring modes on a shipped student of the demo: one engine, one score block, three modes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

import mira_stream.demo
from mira_stream.config import Project, load_project
from mira_stream.distill.dataset import prompt_ids
from mira_stream.distill.decode import decode_scores
from mira_stream.distill.folder import load_student
from mira_stream.messages import Mode
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.judge import Judge, Judgement
from mira_stream.streaming.metrics import Metrics
from mira_stream.vllm_engine import VllmEngine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

VIEWS = [
    "def add(first, second):\n    return first + second\n",
    '"""Reads a table."""\n\nimport csv\n\n\ndef rows(path):\n    return list(csv.reader(open(path)))\n',
    "Usage: give the name of a file. It is read line by line, and what cannot be read is said.",
    "x = 1\n" * 60,
]


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(Path(mira_stream.demo.__file__).parent / "project", environment={})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(project: Project) -> AsyncIterator[VllmEngine]:
    one = VllmEngine.for_group(project, "text")
    await one.start()
    yield one
    await one.stop()


async def judged(project: Project, engine: VllmEngine, mode: Mode, **given: Any) -> list[Judgement]:
    """One document after the other, and none of its prompt cached: what a batch holds and what is computed anew move
    the last bits, and so near ties. `given`: further settings of the group."""
    settings = replace(project.settings.groups["text"], mode=mode, **given)
    rubric = load_rubric(project.rubric_path("text"))
    prompt = load_prompt(project.prompts_path("text"), rubric)
    judge = Judge("text", settings, rubric, prompt, "a-lineage", engine, Metrics())
    found = []
    for number, view in enumerate(VIEWS):
        await engine.reset_prefix_cache()
        found.append(await judge.judge(view, str(number), f"{mode}-{number}"))
    return found


async def test_all_modes_read_one_score_block(project: Project, engine: VllmEngine) -> None:
    """`rationale` is forced here: the grammar makes this student go on, and what it then says means nothing."""
    scores, rationale = await judged(project, engine, "scores"), await judged(project, engine, "rationale")
    expected = await judged(project, engine, "expected")
    assert len({tuple(one.scores) for one in scores}) == len(VIEWS)
    for short, long, mean in zip(scores, rationale, expected, strict=True):
        assert short.read == 15
        assert short.scores == long.scores == mean.reading.scores
        assert (short.reading.overall, short.reading.recommendation) == (
            long.reading.overall,
            long.reading.recommendation,
        )
        assert long.completion.text.startswith(f"{short.completion.text}\ndomain_tag: ")
        assert long.completion.generation_tokens > 2 * short.completion.generation_tokens
        assert mean.completion.generation_tokens == short.completion.generation_tokens


async def test_a_student_of_layout_interleaved_is_held_to_its_score_lines(project: Project, engine: VllmEngine) -> None:
    """The demo's student never saw the layout: what it says means nothing, but what it may say is the grammar's."""
    names = load_rubric(project.rubric_path("text")).names
    said = await judged(project, engine, "scores", layout="interleaved", reply_tokens_max=500)
    for one in said:
        lines = one.completion.text.split("\n")
        assert one.completion.finish_reason == "stop"
        assert [line.rsplit(": ", 1)[0] for line in lines[:15]] == [f"[A{n}] {name}" for n, name in enumerate(names, 1)]
        assert [line.split(":")[0] for line in lines[15:]] == ["overall", "training_recommendation"]
        assert (one.read, one.reading.repairs) == (15, [])
    means = await judged(project, engine, "expected", layout="interleaved", reply_tokens_max=500)
    for one, mean in zip(said, means, strict=True):
        assert mean.reading.scores == one.reading.scores
        assert mean.expected is not None
        assert all(slot is not None and 0 < slot.mass <= 1 for slot in mean.expected)


async def test_what_is_expected_of_the_served_student_is_the_mean_of_its_own_weights(
    project: Project, engine: VllmEngine
) -> None:
    rubric = load_rubric(project.rubric_path("text"))
    prompt = load_prompt(project.prompts_path("text"), rubric)
    model, tokenizer = load_student(project.student_path("text"))
    prompts = [prompt_ids(tokenizer, prompt, view) for view in VIEWS]
    said, mean = decode_scores(model, tokenizer, prompts), decode_scores(model, tokenizer, prompts, expected=True)
    for one, wanted, means in zip(await judged(project, engine, "expected"), said.tolist(), mean.tolist(), strict=True):
        assert one.expected is not None
        assert all(slot is not None and slot.mass > 0.98 and slot.entropy > 0 for slot in one.expected)
        if one.reading.scores == wanted:  # a near tie may fall the other way in another arithmetic
            assert one.scores == pytest.approx(means, abs=0.15)
    assert any(
        one.reading.scores == wanted
        for one, wanted in zip(await judged(project, engine, "expected"), said.tolist(), strict=True)
    )
