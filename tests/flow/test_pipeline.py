"""Documents in, decisions and Parquet out: all services, all at once, killed at random moments."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from consumers.aggregator import aggregate
from mira_stream.errors import DataLossError
from mira_stream.streaming import owner
from mira_stream.streaming.metrics import Metrics
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.engine import ScriptedEngine
from tests.flow.pipeline import Pipeline, make_project, question_row, text_row, write_rows

BAD_ROWS: list[object] = [b"{not json", b'{"id": "bad-utf8", "text": "\xff\xfe"}', {"id": "no-text"}]
"""Rows that no document can be made of."""
UNFIT_ROWS: list[object] = [{"id": "empty", "text": "  \n"}]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "REOPEN_S", (0.0,))
    monkeypatch.setattr(owner, "FENCED_S", (0.0,))
    monkeypatch.setattr("consumers.exporter.FILE_LINGER_S", 0.0)


@pytest.fixture
async def pipeline(tmp_path: Path) -> Pipeline:
    project = make_project(tmp_path)
    write_rows(tmp_path / "notes.jsonl", [*map(text_row, range(150)), *BAD_ROWS, *UNFIT_ROWS])
    write_rows(tmp_path / "questions.jsonl", list(map(question_row, range(90))))
    made = Pipeline(project, MemoryBroker(), tmp_path / "out")
    await made.prepare()
    return made


def check_all_ended_once(pipeline: Pipeline) -> None:
    decisions, letters = pipeline.decisions(), pipeline.dead_letters()
    ends = [(d.origin.topic, d.origin.partition, d.origin.offset) for d in decisions]
    ends += [(d.origin.topic, d.origin.partition, d.origin.offset) for d in letters if d.origin is not None]
    documents = [
        (record.topic, record.partition, record.offset)
        for group in ("text", "qa")
        for record in pipeline.broker.records(pipeline.project.documents_topic(group))
    ]
    assert Counter(ends) == Counter(documents)
    assert Counter(pipeline.exported("scores")) == Counter(decision.id for decision in decisions)
    assert Counter(pipeline.exported("kept")) == Counter(d.id for d in decisions if d.selected)
    assert pipeline.broker.open_transactions() == []


async def until_all_ended(pipeline: Pipeline, documents: int) -> None:
    await pipeline.until(lambda: pipeline.count("decisions") + pipeline.count("dead-letters") >= documents)
    await pipeline.until(lambda: len(pipeline.exported("scores")) >= pipeline.count("decisions"))


async def test_every_document_ends_once(pipeline: Pipeline) -> None:
    for name in ("score", "aggregate", "export"):
        pipeline.start(name)
    produced = await pipeline.produce()
    assert (produced["notes"].documents, produced["notes"].rejected) == (150, 4)
    await until_all_ended(pipeline, 154 + 90)
    await pipeline.shut_down()
    check_all_ended_once(pipeline)
    assert len(pipeline.decisions()) == 240
    reasons = Counter(letter.reason for letter in pipeline.dead_letters())
    assert set(reasons) == {"invalid_json", "invalid_utf8", "invalid_document", "empty_document"}
    kept = Counter(d.source for d in pipeline.decisions() if d.selected)
    assert 0.4 * 150 - 25 < kept["notes"] < 0.4 * 150 + 25
    assert 0.5 * 90 - 25 < kept["questions"] < 0.5 * 90 + 25


@pytest.mark.parametrize("seed", range(6))
async def test_kills_at_random_moments_lose_and_double_nothing(pipeline: Pipeline, seed: int) -> None:
    chance = random.Random(seed)
    await pipeline.produce()
    for name in ("score", "aggregate", "export"):
        pipeline.start(name)
    for _ in range(12):
        for _ in range(chance.randrange(400)):
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            pipeline.broker.fail_next_commit(chance.choice(["unknown_committed", "unknown_open", "aborted"]))
        victim = chance.choice(["score", "aggregate", "export"])
        await pipeline.kill(victim)
        pipeline.start(victim)
    await until_all_ended(pipeline, 154 + 90)
    await pipeline.shut_down()
    check_all_ended_once(pipeline)


@pytest.mark.parametrize("forward", [True, False])
async def test_an_aggregator_whose_offset_was_moved_passes_no_card_over_and_judges_none_twice(
    pipeline: Pipeline, forward: bool
) -> None:
    await pipeline.produce()
    pipeline.start("score")
    await pipeline.until(lambda: pipeline.count("scores") == 240)
    pipeline.start("aggregate")
    await pipeline.until(lambda: pipeline.count("decisions") > 20)
    await pipeline.kill("aggregate")
    broker, group = pipeline.broker, pipeline.project.consumer_group("aggregator")
    reader = await broker.reader()
    partitions = await reader.partitions(pipeline.project.topic("scores"))
    stood, bounds = await broker.committed(group, partitions), await reader.bounds(partitions)
    moved = {one: bounds[one][1] if forward else 0 for one, at in stood.items() if 0 < at < bounds[one][1]}
    assert moved
    tool = await broker.producer("a tool")
    await tool.commit([], moved, group)
    with pytest.raises(DataLossError, match="progress_differs"):
        await asyncio.wait_for(aggregate(pipeline.project, broker, Metrics(), pipeline.stop), 30)
    await tool.commit([], {one: stood[one] for one in moved}, group)
    pipeline.start("aggregate")
    pipeline.start("export")
    await until_all_ended(pipeline, 154 + 90)
    await pipeline.shut_down()
    check_all_ended_once(pipeline)


async def test_a_stop_does_not_wait_for_an_engine_that_loads(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = asyncio.Event()

    async def load(engine: ScriptedEngine) -> None:
        loading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(ScriptedEngine, "start", load)
    pipeline.start("score")
    await loading.wait()
    pipeline.stop.set()
    await pipeline.tasks["score"]
    assert [engine.stops for engine in pipeline.engines] == [1, 1]
