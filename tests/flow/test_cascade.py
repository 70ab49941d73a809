"""A cascade through the whole stream: thresholds come back to the scorer, and the audit recomputes every decision."""

import asyncio
import re
from collections import Counter
from pathlib import Path

import pytest

from consumers.cascading import cascade_thresholds, held_out_pairs
from mira_stream.audit.run import audit
from mira_stream.chance import u
from mira_stream.config import Project, load_project
from mira_stream.messages import Document, ScoreCard, decoder, encode
from mira_stream.parquet import write_table
from mira_stream.scorecard import Reply, write
from mira_stream.scoring.engine import Request
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.published import PublishedThresholds
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.engine import ScriptedEngine, hashed_answer
from tests.flow.pipeline import PROJECT, Pipeline, make_project

COUNT = 240
PART = 20
HELD_OUT = 300
CASCADE = """[groups.text]
mode = "cascade"
document_tokens_max = 60
cascade = { cheap_mode = "scores", cheap_document_tokens_max = 8 }
"""


def first(name: str) -> int:
    return int(10 * u("seed", name)) + 1


def last(name: str) -> int:
    """As the first, but for one in five."""
    return first(name) if u("cold", name) < 0.8 else min(10, max(1, first(name) + (1 if u("band", name) < 0.5 else -1)))


def note(number: int) -> Document:
    name = f"note-{number}"
    said = f"Note: {first(name)} to begin with. It goes on for long, to {last(name)}"
    return Document(id=name, source="notes", text=said)


def answer(request: Request) -> str:
    """The last number in the view, fifteen times: the cheap view ends before the second."""
    view = request.messages[-1]["content"].split("[A15] Dimension 15")[-1]
    found = re.findall(r"\d+", view)
    return (
        write(Reply([int(found[-1])] * 15, 50, "drop"), "scores_first", "scores", [""] * 15)
        if found
        else (hashed_answer(request))
    )


def project_at(root: Path, measured: bool) -> Project:
    make_project(root)
    (root / "mira.toml").write_text(PROJECT.replace("[groups.text]\n", CASCADE))
    project = load_project(root, {})
    if measured:
        names = [f"held-out-{number}" for number in range(HELD_OUT)]
        columns = {
            "id": names,
            "source": ["notes"] * HELD_OUT,
            "split": ["heldout"] * HELD_OUT,
            "cluster": names,
            "cheap_scores": [[float(first(name))] * 15 for name in names],
            "full_scores": [[float(last(name))] * 15 for name in names],
        }
        schema = dict.fromkeys(("id", "source", "split", "cluster"), "string")
        schema |= dict.fromkeys(("cheap_scores", "full_scores"), "floats")
        about = {"student_lineage": lineage(project, "text"), "student_mode": "cascade"}
        write_table(project.labels_path("text"), schema, columns, about)  # type: ignore[arg-type]
    return project


async def stream(root: Path, project: Project) -> tuple[MemoryBroker, list[ScoreCard]]:
    """Documents in parts: the next when the last are decided."""
    broker = MemoryBroker()
    pipeline = Pipeline(project, broker, root / "out")
    pipeline._engine = lambda *_: ScriptedEngine(answer)  # type: ignore[method-assign]
    await pipeline.prepare()
    pipeline.start("score")
    pipeline.start("aggregate")
    for end in range(PART, COUNT + 1, PART):
        for number in range(end - PART, end):
            broker.append(project.documents_topic("text"), None, encode(note(number)))
        await pipeline.until(lambda end=end: pipeline.count("decisions") == end)  # type: ignore[misc]
    pipeline.stop.set()
    await pipeline.shut_down()
    return broker, [decoder(ScoreCard).decode(one.value or b"") for one in broker.records(project.topic("scores"))]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks for new thresholds whenever the loop comes round."""
    monkeypatch.setattr("consumers.cascading.LOOK_S", 0.0)


async def test_thresholds_come_back_and_the_audit_agrees(tmp_path: Path) -> None:
    project = project_at(tmp_path, measured=True)
    broker, cards = await stream(tmp_path, project)
    assert len(cards) == COUNT
    sent = Counter(card.cheap.sent for card in cards if card.cheap is not None)
    assert sum(sent.values()) == COUNT
    assert sent["no_threshold"] > 0, "a new source begins with both stages"
    assert sent["sure"] > COUNT / 8, "then the thresholds are known"
    for card in cards:
        assert card.cheap is not None
        wanted = first(card.id) if card.cheap.sent == "sure" else last(card.id)
        assert card.scores == [wanted] * 15
        assert (card.cheap.epoch is None) == (card.cheap.sent == "no_threshold")
    result = await audit(project, broker, None, patience_s=0.0)
    assert result.ok, result
    assert result.decisions == COUNT


async def test_a_group_that_is_not_measured_sends_everything_on(tmp_path: Path) -> None:
    project = project_at(tmp_path, measured=False)
    assert held_out_pairs(project, "text", lineage(project, "text")) == {}
    _, cards = await stream(tmp_path, project)
    assert {card.cheap.sent for card in cards if card.cheap is not None} <= {"no_threshold", "uncalibrated"}
    assert all(card.scores == [last(card.id)] * 15 for card in cards)


async def test_other_groups_follow_no_thresholds(tmp_path: Path) -> None:
    project = project_at(tmp_path, measured=False)
    async with cascade_thresholds(project, MemoryBroker(), "qa") as published:
        assert published is None


async def test_a_look_that_fails_in_whatever_way_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, again = 0, asyncio.Event()

    async def refresh(_: PublishedThresholds) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("of a kind that nobody thought of")
        again.set()

    monkeypatch.setattr(PublishedThresholds, "refresh", refresh)
    async with cascade_thresholds(project_at(tmp_path, measured=True), MemoryBroker(), "text"):
        await asyncio.wait_for(again.wait(), 30)
