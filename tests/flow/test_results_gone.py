"""A score log that was deleted and made anew shows, though nobody has read the one before."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from consumers.scorer import score
from mira_stream.audit.run import audit
from mira_stream.errors import DataLossError
from mira_stream.progress_messages import Progress, WrittenOff
from mira_stream.streaming import stage_watch
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.starting import Start, with_results
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.engine import ScriptedEngine
from producers.files import produce
from tests.flow.pipeline import Pipeline, make_project, text_row, write_rows
from tests.flow.test_runner import IN, OUT, P0, Member, broker_with, no_pauses, settings, until, until_copied
from tests.flow.test_starting import DONE
from tests.flow.test_written_off import said

__all__ = ["no_pauses"]


async def gone() -> MemoryBroker:
    """All are done, and their results were deleted with their topic."""
    broker = await broker_with(DONE, partitions=1)
    member = Member(broker, results=OUT)
    await until_copied(broker, DONE, member)
    await member.leave()
    await make_results_anew(broker)
    return broker


async def make_results_anew(broker: MemoryBroker) -> None:
    broker.delete_topic(OUT)
    await broker.create_topics([TopicSpec(OUT, 1)], 1)


async def test_a_stage_does_not_go_on_into_another_topic_of_results_until_a_person_has_accepted_that() -> None:
    broker = await gone()
    broker.append(IN, b"k", b"1", 0)
    for _ in range(2):
        refused = Member(broker, results=OUT)
        with pytest.raises(DataLossError, match=rf"topic_made_anew.*out was.*in/0 up to offset {DONE}.*--accept-loss"):
            await asyncio.wait_for(refused.task, 30)
    assert (await said(broker)).written_off is None
    for accept_loss in (True, False):
        member = Member(broker, results=OUT, accept_loss=accept_loss)
        await until(lambda: len(broker.records(OUT)) >= 1, member)
        await member.leave()
        assert (await said(broker)).written_off == WrittenOff(offsets=DONE, ranges=[(0, DONE - 1)])
    assert (await said(broker)).results_id == await broker.topic_id(OUT)


async def test_what_is_read_again_is_not_written_off() -> None:
    broker = await gone()
    await (await broker.producer("a tool")).commit([], {P0: 5}, "g")
    member = Member(broker, results=OUT, accept_loss=True)
    await until_copied(broker, DONE - 5, member)
    await member.leave()
    assert (await said(broker)).written_off == WrittenOff(offsets=5, ranges=[(0, 4)])


def test_what_was_finished_behind_a_gap_is_written_off_too() -> None:
    """The gap is read, and what is finished behind it is not: its results are gone all the same."""
    before = Progress(topic=IN, partition=0, next_offset=3, finished=[(5, 6), (9, 9)], results_id="before")
    start = Start(3, 3, before.finished)
    accepting = settings(results=OUT, accept_loss=True)
    found = with_results(P0, start, before, before, "now", accepting)
    assert found.written_off == WrittenOff(offsets=6, ranges=[(0, 2), (5, 6), (9, 9)])
    assert (found.next_offset, found.finished, found.results_id) == (3, before.finished, "now")
    above_alone = replace(before, next_offset=0)
    found = with_results(P0, Start(0, 0, before.finished), above_alone, above_alone, "now", accepting)
    assert found.written_off == WrittenOff(offsets=3, ranges=[(5, 6), (9, 9)])


async def test_a_stage_that_runs_notices_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_watch, "LAG_S", 0.001)
    broker = await broker_with(DONE, partitions=1)
    member = Member(broker, results=OUT)
    await until_copied(broker, DONE, member)
    await make_results_anew(broker)
    with pytest.raises(DataLossError, match="topic_made_anew"):
        await asyncio.wait_for(member.task, 30)


async def test_nothing_more_goes_to_another_topic_of_results_before_anybody_notices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be written off with what is gone, though its results are there."""
    monkeypatch.setattr(stage_watch, "LAG_S", 1e6)  # nobody looks beside the stage
    broker = await broker_with(DONE, partitions=1)
    member = Member(broker, results=OUT)
    await until_copied(broker, DONE, member)
    await make_results_anew(broker)
    broker.append(IN, b"k", str(DONE).encode(), 0)
    with pytest.raises(DataLossError, match="topic_made_anew"):
        await asyncio.wait_for(member.task, 30)
    assert (broker.records(OUT), (await said(broker)).next_offset) == ([], DONE)
    member = Member(broker, results=OUT, accept_loss=True)
    await until(lambda: len(broker.records(OUT)) >= 1, member)
    await member.leave()
    assert (await said(broker)).written_off == WrittenOff(offsets=DONE, ranges=[(0, DONE - 1)])


async def test_a_progress_of_before_there_was_an_id_takes_the_one_that_is_there() -> None:
    broker = await broker_with(DONE, partitions=1)
    for number, results in enumerate(("", OUT, "")):  # the last as where the broker tells no ids any more
        broker.append(IN, b"k", str(DONE + number).encode(), 0)
        member = Member(broker, results=results)
        await until_copied(broker, DONE + number + 1, member)
        await member.leave()
        assert (await said(broker)).results_id == (await broker.topic_id(OUT) if number else "")


async def test_cards_that_no_aggregator_has_read_are_not_gone_in_silence(tmp_path: Path) -> None:
    """Scored, their documents deleted by retention, and then the score log: no outcome is left of them, and none is
    missed by anybody's offset."""
    pipeline = Pipeline(make_project(tmp_path), MemoryBroker(), tmp_path / "out")
    broker, project = pipeline.broker, pipeline.project
    write_rows(tmp_path / "notes.jsonl", [text_row(number) for number in range(12)])
    write_rows(tmp_path / "questions.jsonl", [])
    await pipeline.prepare()
    pipeline.start("score")
    await pipeline.produce()
    await pipeline.until(lambda: pipeline.count("scores") == 12)
    await pipeline.shut_down()
    reader = await broker.reader()
    documents = await reader.partitions("mira.documents.text")
    for partition, finished in (await broker.committed(project.consumer_group("scorer.text"), documents)).items():
        broker.delete_before(partition, finished)
    assert (await audit(project, broker, None, patience_s=0.0)).ok
    partitions = len(await reader.partitions("mira.scores"))
    broker.delete_topic("mira.scores")
    assert set((await audit(project, broker, None, patience_s=0.0)).findings_by_code) == {"topic_made_anew"}
    await broker.create_topics([TopicSpec("mira.scores", partitions)], 1)
    found = await audit(project, broker, None, patience_s=0.0)
    assert set(found.findings_by_code) == {"topic_made_anew"}
    assert "mira-stream score --accept-loss" in found.findings[0].detail
    pipeline.stop = asyncio.Event()
    with pytest.raises(DataLossError, match="topic_made_anew"):
        await score_all(pipeline, accept_loss=False)
    running = asyncio.ensure_future(score_all(pipeline, accept_loss=True))
    await pipeline.until(lambda: b"written_off" in (broker.records("mira.progress")[-1].value or b""))
    sources = {"notes": project.settings.sources["notes"]}
    assert (await produce(broker, project, sources, missing=True))["notes"].again == 12
    await pipeline.until(lambda: pipeline.count("scores") == 12)
    pipeline.start("aggregate")
    await pipeline.until(lambda: pipeline.count("decisions") == 12)
    await pipeline.shut_down()
    await running
    found = await audit(project, broker, None, patience_s=0.0)
    assert (found.findings, found.decisions, found.written_off > 0) == ([], 12, True)
    assert "written off by --accept-loss" in found.line()


async def score_all(pipeline: Pipeline, *, accept_loss: bool) -> None:
    await score(
        pipeline.project,
        pipeline.broker,
        ["text"],
        Metrics(),
        pipeline.stop,
        lambda *_: ScriptedEngine(),
        accept_loss=accept_loss,
    )
