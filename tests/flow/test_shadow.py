"""A changed project beside the live stream: the same documents, other topics, and no haste."""

import asyncio
from pathlib import Path

from msgspec.structs import replace

from consumers.shadow import shadow
from mira_stream.messages import Decision, decoder
from mira_stream.streaming.metrics import Metrics
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.engine import ScriptedEngine
from tests.flow.pipeline import Pipeline, make_project, question_row, text_row, write_rows

COUNT = 60


async def streaming(root: Path) -> tuple[Pipeline, MemoryBroker]:
    write_rows(root / "notes.jsonl", [text_row(number) for number in range(COUNT)])
    write_rows(root / "questions.jsonl", [question_row(number) for number in range(COUNT)])
    broker = MemoryBroker()
    pipeline = Pipeline(make_project(root), broker, root / "out")
    await pipeline.prepare()
    await pipeline.produce()
    return pipeline, broker


async def test_a_shadow_waits_for_the_live_scorer_and_then_decides_on_every_document(tmp_path: Path) -> None:
    pipeline, broker = await streaming(tmp_path)
    seen: list[ScriptedEngine] = []
    tried = replace(pipeline.project, shadow="bolder")
    stop = asyncio.Event()

    def engine(*_: object) -> ScriptedEngine:
        seen.append(ScriptedEngine())
        return seen[-1]

    running = asyncio.ensure_future(shadow(tried, broker, ["qa", "text"], Metrics(), stop, engine_for=engine))
    pipeline.tasks["shadow"] = running
    await pipeline.until(lambda: len(seen) == 2 and all(one.starts for one in seen))
    before = sum(len(one.requests) for one in seen)
    pipeline.start("score")
    pipeline.start("aggregate")
    await pipeline.until(lambda: pipeline.count("decisions") == 2 * COUNT)
    decisions = tried.topic("decisions")
    await pipeline.until(lambda: len(broker.records(decisions)) == 2 * COUNT)
    stop.set()
    await pipeline.shut_down()
    live = {decision.origin: decision for decision in pipeline.decisions()}
    made = [decoder(Decision).decode(record.value or b"") for record in broker.records(decisions)]
    assert before <= 4, "two known answers of the probe, and no document while the live scorer has all of them waiting"
    assert {decision.origin for decision in made} == set(live)
    assert len(made) == len(live) == 2 * COUNT, "the live stream is none the wiser"
