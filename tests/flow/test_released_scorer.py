"""A released student from `init --catalog` to score cards: its own prompt, rubric and layout, a scripted engine."""

from pathlib import Path
from typing import cast

import msgspec
import orjson
import pytest

from mira_stream.catalog import find, load_catalog
from mira_stream.catalog.scaffold import project_files
from mira_stream.catalog.templates import import_templates
from mira_stream.config import Project, load_project
from mira_stream.errors import CheckFailed, ConfigError
from mira_stream.messages import DeadLetter, Message, ScoreCard
from mira_stream.records import LogReader, Record
from mira_stream.rubric.anchors import Example, load_rubric, write_rubric
from mira_stream.scorecard import Reply, write
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.scoring.origin import check_origin
from mira_stream.scoring.probe import probe
from mira_stream.testing.engine import ScriptedEngine, in_turn
from tests.unit.test_scoring_handler import Counts

SCORES = [7, 6.5, 8, 3, 10, 9, 5, 4, 0, 7, 2, 1, 6, 8.5, 4.5]
MESSAGES = [
    Message(role="user", content="Fix the parser."),
    Message(role="assistant", content="I read parser.py, change one line and run the tests: 12 passed."),
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Agent-4, served elsewhere, with template and anchors as a team that has them would import them."""
    catalog = load_catalog()
    for name, data in project_files([find(catalog, "agent-4")], catalog, trust_remote_code=False).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.replace(b'engine = "vllm"', b'engine = "openai"\nbase_urls = ["http://127.0.0.1:9/v1"]'))
    found = import_templates("Scale:\n{anchor_examples}", "{record}\n\nAnswer one line a dimension:\n{dims}", {})
    (tmp_path / "prompts" / "agent-4" / "system.txt").write_text(found.system)
    (tmp_path / "prompts" / "agent-4" / "user.txt").write_text(found.user)
    path = tmp_path / "rubrics" / "agent-4.jsonl"
    rubric = load_rubric(path)
    examples = [Example(score=8, reason="made for this test")]
    anchors = [msgspec.structs.replace(anchor, examples=examples) for anchor in rubric.anchors]
    path.write_bytes(write_rubric(rubric.header, anchors))
    return load_project(tmp_path, environment={})


def reply(project: Project) -> str:
    names = load_rubric(project.rubric_path("agent-4")).names
    reasons = [f"seen in {number} of 15 turns, 3/10 at first" for number in range(1, 16)]
    answer = Reply(SCORES, 61, "downsample", "swe-repair", "Fixes a parser; 12 of 12 tests pass.", reasons)
    return write(answer, "interleaved", "rationale", names)


async def judged(project: Project, *replies: str) -> tuple[str, bytes, ScriptedEngine]:
    engine = ScriptedEngine(in_turn(*replies))
    await engine.start()
    factory = ScoringFactory(project, "agent-4", engine, Counts(), pauses_s=(0.0,))
    value = orjson.dumps(
        {"schema": "document.v1", "id": "d", "source": "swe_qa", "messages": msgspec.to_builtins(MESSAGES)}
    )
    one = Record("mira.documents.agent-4", 0, 0, 1_700_000_000_000, b"d", value, ())
    (outgoing,) = await factory(one.source, cast("LogReader", None)).handle(one)
    return outgoing.topic, outgoing.value, engine


async def test_a_reply_of_the_released_form_becomes_a_card(project: Project) -> None:
    topic, value, engine = await judged(project, reply(project))
    assert topic == "mira.scores"
    card = msgspec.json.decode(value, type=ScoreCard)
    assert (card.scores, card.overall, card.recommendation) == (SCORES, 61, "downsample")
    assert (card.domain_tag, card.brief) == ("swe-repair", "Fixes a parser; 12 of 12 tests pass.")
    assert (card.mode, card.repairs, card.attempts) == ("rationale", [], 1)
    (request,) = engine.requests
    assert (request.temperature, request.top_p, request.max_tokens) == (0.7, 0.95, 2048)
    assert request.seed is not None
    assert request.messages[1]["content"].startswith("### user\nFix the parser.")
    assert "[A15] Tool Selection (Safety & Scope)" in request.messages[1]["content"]


async def test_damaged_lines_are_null_and_move_no_other(project: Project) -> None:
    text = (
        reply(project).replace("[A14] Tool Selection:", "[A14] Tool Selection (Safety & Scope):").replace("\n", "\r\n")
    )
    damaged = "Sure!\n\n" + text.replace("[A5]", "**[A5]**").replace(": 9/10 — ", ": nine — ")
    topic, value, engine = await judged(project, damaged, damaged)
    assert topic == "mira.scores"
    card = msgspec.json.decode(value, type=ScoreCard)
    assert card.scores == [None if place in (5, 13) else score for place, score in enumerate(SCORES)]
    assert {"text_before", "name_of_another:A14", "not_a_number:A6", "markup:A5"} <= set(card.repairs)
    assert card.attempts == len(engine.requests) == 2
    assert engine.requests[0].seed != engine.requests[1].seed


async def test_a_reply_cut_off_early_is_a_dead_letter(project: Project) -> None:
    cut = "\n".join(reply(project).split("\n")[:7])
    topic, value, _ = await judged(project, cut, cut)
    assert topic == "mira.dead-letters"
    assert msgspec.json.decode(value, type=DeadLetter).reason == "reply_unreadable"


async def test_the_probe_takes_the_released_layout_and_no_other_template(project: Project) -> None:
    engine = ScriptedEngine(in_turn(reply(project), "The document is fine: 8/10."))
    await engine.start()
    await probe(project, "agent-4", engine)
    with pytest.raises(CheckFailed, match="probe_failed"):
        await probe(project, "agent-4", engine)


async def test_a_student_of_another_group_or_of_an_edited_rubric_is_never_asked(project: Project) -> None:
    folder = project.student_path("agent-4")
    folder.mkdir(parents=True)
    path = project.rubric_path("agent-4")
    trained = {"group": "agent-4", "rubric": load_rubric(path).version}
    engine = ScriptedEngine(in_turn(reply(project)))
    await engine.start()

    (folder / "config.json").write_bytes(orjson.dumps({"mira": trained | {"group": "agent-3"}}))
    with pytest.raises(ConfigError, match=r"student_group.*'agent-3'"):
        await probe(project, "agent-4", engine)
    (folder / "config.json").write_bytes(orjson.dumps({"mira": trained}))
    check_origin(project, "agent-4", load_rubric(path))
    path.write_bytes(path.read_bytes().replace(b"made for this test", b"made for this tent", 1))
    with pytest.raises(ConfigError, match="student_rubric"):
        await probe(project, "agent-4", engine)
    assert engine.requests == []


async def test_a_released_folder_says_nothing_of_itself_and_is_vouched_for_by_the_catalog(project: Project) -> None:
    folder = project.student_path("agent-4")
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(orjson.dumps({"model_type": "qwen3_5_moe"}))
    engine = ScriptedEngine(in_turn(reply(project)))
    await engine.start()
    assert project.settings.groups["agent-4"].foreign
    await probe(project, "agent-4", engine)
    toml = project.root / "mira.toml"
    toml.write_text(toml.read_text().replace("foreign = true", "foreign = false"))
    with pytest.raises(ConfigError, match="student_untagged"):
        await probe(load_project(project.root, environment={}), "agent-4", engine)
