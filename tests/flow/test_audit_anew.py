"""A documents topic that was deleted and made anew, and scored from its start (`score --accept-loss`): the same offsets
are other documents, and the audit tells them apart."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from consumers.scorer import score
from mira_stream.audit.run import audit
from mira_stream.audit.trail import find_trails
from mira_stream.messages import Decision, decoder, encode
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.engine import ScriptedEngine
from tests.flow.audit_logs import FrozenStream, edited
from tests.flow.pipeline import text_row, write_rows
from tests.flow.selecting_world import DOCUMENTS, PARTITIONS, World
from tests.flow.test_policy_commands import run_pipeline
from tests.unit.selecting_cards import card

BEFORE, SINCE = 60, 90
_decision = decoder(Decision).decode


async def made_anew(root: Path, since: int = SINCE) -> FrozenStream:
    """`BEFORE` documents and a dead one; then the topic again, with `since` others. Export after export."""
    world = await World.create(root)
    world.publish_masks()
    world.fill(BEFORE)
    world.score(card(0, [None] * 15, id="silent", origin=world.document("silent")))
    await world.aggregate()
    await world.commit_scorer()
    await world.export(root / "out")
    world.broker.delete_topic(DOCUMENTS)
    await world.broker.create_topics([TopicSpec(DOCUMENTS, PARTITIONS)], 1)
    world.stamp_ms += 60_000
    world.broker.append(DOCUMENTS, b"marker", b"")  # offsets shift, as those of transactions' ends do
    world.fill(since, seed=2)
    await world.aggregate()
    await world.commit_scorer()
    await world.export(root / "out")
    stream = await FrozenStream.of(world, root / "out")
    stream.logs["documents.text"] = [one for one in stream.logs["documents.text"] if one.key != b"marker"]
    return stream


@pytest.mark.parametrize("since", [10, SINCE])
async def test_documents_of_an_earlier_topic_are_no_doubles(tmp_path: Path, since: int) -> None:
    result = await (await made_anew(tmp_path, since)).audit()
    assert result.findings == []
    assert (result.documents, result.decisions, result.lost, result.doubled) == (since, since, 0, 0)
    assert (result.earlier, result.decisions_recomputed) == (BEFORE + 1, BEFORE + since)
    assert result.line().endswith(f"; {BEFORE + 1} outcomes of documents whose topic was made anew since")


@pytest.mark.parametrize("plant", ["dropped", "doubled", "changed"])
async def test_decisions_on_earlier_documents_are_compared_all_the_same(tmp_path: Path, plant: str) -> None:
    stream = await made_anew(tmp_path)
    decisions = stream.logs["decisions"]
    at = next(n for n, one in enumerate(decisions) if _decision(one.value or b"").card.offset == 20)
    if plant == "dropped":
        del decisions[at]
    elif plant == "doubled":
        decisions.insert(at, decisions[at])
    else:
        decisions[at] = edited(decisions[at], Decision, quality=1.5)
    result = await stream.audit()
    assert result.findings_by_code == {"earlier_differs": 1}
    assert "differ" in result.line()


async def test_once_the_first_decisions_are_deleted_earlier_ones_are_not_compared_and_that_is_said(
    tmp_path: Path,
) -> None:
    stream = await made_anew(tmp_path)
    first = stream.logs["decisions"][0]
    stream.bounds[first.source] = (first.offset + 1, stream.bounds[first.source][1])
    del stream.logs["decisions"][0]
    result = await stream.audit()
    assert result.findings == []
    assert (result.earlier, result.earlier_not_compared) == (BEFORE, True)
    assert "made anew since, not compared: the first decisions are deleted" in result.line()


async def test_a_document_that_is_there_is_judged_twice_all_the_same(tmp_path: Path) -> None:
    stream = await made_anew(tmp_path)
    stream.append("decisions", stream.logs["decisions"][-1])
    result = await stream.audit()
    assert (result.doubled, "decision_doubled" in result.findings_by_code) == (1, True)
    dated = _decision(stream.logs["decisions"][-1].value or b"")
    false = replace(dated, origin=replace(dated.origin, timestamp_ms=1))
    stream.logs["decisions"][-1] = stream.logs["decisions"][-1]._replace(value=encode(false))
    assert "earlier_differs" in (await stream.audit()).findings_by_code


async def test_documents_wait_until_the_scorer_begins_anew(tmp_path: Path) -> None:
    """Its offset is of the topic before: what is below it now is not lost."""
    pipeline = await run_pipeline(tmp_path)
    broker, project = pipeline.broker, pipeline.project
    await pipeline.until(lambda: len(pipeline.exported("scores")) == 80)
    await pipeline.kill("score")
    broker.delete_topic(DOCUMENTS)
    await broker.create_topics([one for one in topic_specs(project) if one.name == DOCUMENTS], 1)
    rows: list[object] = [text_row(number) for number in range(70)]
    write_rows(project.path("notes.jsonl"), rows)
    await pipeline.produce()
    stopped = await audit(project, broker, pipeline.out, patience_s=0.0)
    partitions = len(await (await broker.reader()).partitions(DOCUMENTS))
    assert stopped.findings_by_code == {"topic_made_anew": partitions}
    assert "--same-topic mira.documents.text --yes; else" in stopped.findings[0].detail
    assert (stopped.documents, stopped.waiting, stopped.lost, stopped.earlier) == (70, 30, 0, 40)
    pipeline.tasks["score"] = asyncio.ensure_future(
        score(project, broker, ["qa", "text"], Metrics(), pipeline.stop, lambda *_: ScriptedEngine(), accept_loss=True)
    )
    await pipeline.until(lambda: len(pipeline.exported("scores")) == 110)
    await pipeline.shut_down()
    result = await audit(project, broker, pipeline.out, patience_s=0.0)
    assert result.findings == []
    assert (result.documents, result.decisions, result.waiting, result.earlier) == (70, 70, 0, 40)
    assert (result.ok, result.written_off, result.written_off_rests) == (True, 0, partitions)
    assert all(name.endswith("-") for name in result.written_off_ranges)
    said = f"; 0 lost beside the unread rest of {partitions} logs made anew (not known how much), 0 doubled; "
    assert said in result.line()


async def test_a_topic_that_is_gone_is_no_topic_of_which_nothing_is_lost(tmp_path: Path) -> None:
    """The other group's is there: the audit has something to look at."""
    pipeline = await run_pipeline(tmp_path)
    broker, project = pipeline.broker, pipeline.project
    await pipeline.until(lambda: len(pipeline.exported("scores")) == 80)
    await pipeline.shut_down()
    partitions = len(await (await broker.reader()).partitions(DOCUMENTS))
    broker.delete_topic(DOCUMENTS)
    result = await audit(project, broker, pipeline.out, patience_s=0.0)
    found = [one for one in result.findings if one.code == "topic_missing"]
    assert (result.ok, result.findings_by_code["topic_missing"]) == (False, partitions)
    assert [one.origin for one in found] == [f"{DOCUMENTS}/{number}" for number in range(partitions)]
    assert all("finished up to" in one.detail for one in found)
    broker.delete_topic("mira.progress")
    await broker.create_topics([one for one in topic_specs(project) if one.name == "mira.progress"], 1)
    result = await audit(project, broker, pipeline.out, patience_s=0.0)
    assert "topic_missing" not in result.findings_by_code, "of a group that has never been scored nothing can be gone"


async def test_the_story_of_an_earlier_document_has_no_other_ones_text(tmp_path: Path) -> None:
    stream = await made_anew(tmp_path)
    earlier = _decision(stream.logs["decisions"][0].value or b"")
    (trail,) = await find_trails(await stream.reader(), stream.project, earlier.id)
    assert (trail.decision, trail.record) == (earlier, None)
