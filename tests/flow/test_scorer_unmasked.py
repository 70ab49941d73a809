"""A scorer says at its start if nobody can decide on what it scores, and scores all the same."""

from pathlib import Path
from typing import Any

import structlog

from consumers.unmasked import say_unmasked
from mira_stream.parquet import read_columns
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.publish import publish
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from tests.flow.pipeline import Pipeline, make_project, question_row, text_row, write_rows


async def said_of(pipeline: Pipeline, group: str) -> list[Any]:
    with structlog.testing.capture_logs() as said:
        await say_unmasked(pipeline.project, pipeline.broker, group)
    return said


async def test_a_scorer_whose_masks_were_never_published_says_so_and_what_to_do(tmp_path: Path) -> None:
    pipeline = Pipeline(make_project(tmp_path), MemoryBroker(), tmp_path / "out")
    write_rows(tmp_path / "notes.jsonl", [text_row(0)])
    write_rows(tmp_path / "questions.jsonl", [question_row(0)])
    await pipeline.broker.create_topics(topic_specs(pipeline.project), 1)
    await pipeline.produce()
    with structlog.testing.capture_logs() as said:
        pipeline.start("score")
        await pipeline.until(lambda: pipeline.count("scores") == 2)
    warned = {entry["group"]: entry for entry in said if entry["log_level"] == "warning"}
    own = lineage(pipeline.project, "text")
    assert (warned["text"]["sources"], warned["text"]["lineages"]) == (["notes"], [own])
    assert "no mask is in force" in warned["text"]["event"]
    assert f"mira-stream prepare --project {tmp_path}" in warned["text"]["fix"]
    assert set(warned) == {"text", "qa"}
    await pipeline.shut_down()


async def test_after_a_change_only_the_groups_that_it_touches_are_named(tmp_path: Path) -> None:
    pipeline = Pipeline(make_project(tmp_path), MemoryBroker(), tmp_path / "out")
    await pipeline.prepare()
    assert await said_of(pipeline, "text") == await said_of(pipeline, "qa") == []
    (tmp_path / "prompts" / "qa" / "user.txt").write_text("${dimensions}\nSay what you think.\n${document}")
    assert await said_of(pipeline, "text") == []
    assert [entry["sources"] for entry in await said_of(pipeline, "qa")] == [["questions"]]
    await publish(pipeline.broker, pipeline.project, lineage, read_columns)
    assert await said_of(pipeline, "qa") == []


async def test_a_policy_that_cannot_be_read_does_not_hold_a_scorer_back(tmp_path: Path) -> None:
    pipeline = Pipeline(make_project(tmp_path), MemoryBroker(), tmp_path / "out")
    (entry,) = await said_of(pipeline, "text")
    assert "not known" in entry["event"]
    assert "topic_missing" in entry["error"]
