"""The watch over a broker in memory: each sampled decision has one label, whatever happens to watch and teacher."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from mira_stream.audit.snapshot import take_snapshot
from mira_stream.cli.source import add_source
from mira_stream.errors import BudgetReached, StageStopped
from mira_stream.label_messages import LABEL_REASONS
from mira_stream.messages import Document, Origin
from mira_stream.parquet import read_columns
from mira_stream.records import TopicPartition
from mira_stream.scorecard import READ_MIN
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.publish import publish
from mira_stream.streaming import looks
from mira_stream.teaching.cost import Budget
from mira_stream.teaching.port import Answer, Question
from tests.flow.watching_world import HOUR_MS, START_MS, WatchingWorld, teacher_scores, view_in
from tests.virtual import in_virtual_time


@pytest.fixture
async def world(tmp_path: Path) -> WatchingWorld:
    return await WatchingWorld.create(tmp_path)


def once_each(world: WatchingWorld, count: int) -> None:
    """No label lost, none doubled."""
    assert Counter(label.id for label in world.labels()) == Counter(f"note-{number}" for number in range(count))


async def test_every_sampled_decision_has_one_label_of_the_same_view(world: WatchingWorld) -> None:
    world.decide(60)
    status, follower = await world.watch()
    once_each(world, 60)
    for label in world.labels():
        number = label.id.removeprefix("note-")
        assert label.scores == teacher_scores(f"Note number {number} says something worth reading.")
        assert label.student_scores == label.scores
        assert (label.arm, label.inclusion.uniform, label.reason) == ("uniform", 1.0, None)
    assert follower.prompt_tokens == 60 * 100
    assert world.counted("mira_watch_labels_total", source="notes", arm="uniform", outcome="answered") == 60
    assert status.cells == []


async def test_a_share_is_a_share_and_the_other_decisions_leave_nothing(world: WatchingWorld) -> None:
    world.decide(200)
    world.decide(200, reason="band")
    await world.watch(share=0.1)
    labels = world.labels()
    assert Counter(label.arm for label in labels).keys() == {"uniform", "near"}
    assert 90 <= len([label for label in labels if label.arm == "near"]) <= 135  # half of 200 stand near
    assert {label.inclusion.near for label in labels} == {0.0, 0.5}
    assert len(world.teacher.asked) == len(labels) < 160
    again = len(labels)
    await world.watch(share=0.1)
    assert len(world.labels()) == again


async def test_a_killed_watch_loses_no_label_doubles_none_and_pays_for_none_twice(world: WatchingWorld) -> None:
    for ended in (False, True, False):
        world.decide(40)
        hold = world.broker.hold_next_commit("mira.watcher.text.mira.decisions.0", ended=ended)
        task = asyncio.create_task(world.watch())
        async with asyncio.timeout(30):
            await hold.reached.wait()
        task.cancel()  # killed in mid transaction or right behind it, with answers that are paid for
        await asyncio.gather(task, return_exceptions=True)
    await world.watch()
    once_each(world, 120)
    assert len(world.teacher.asked) == len(set(world.teacher.asked))


@in_virtual_time
async def test_stopped_it_sends_nothing_more_and_keeps_the_answers_under_way(world: WatchingWorld) -> None:
    world.decide(40)
    world.teacher.hold = hold = asyncio.Event()
    stop = asyncio.Event()
    task: asyncio.Task[object] = asyncio.create_task(world.watch(stop, once=False))
    await world.until(task, lambda: world.teacher.begun == 4)
    stop.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    hold.set()
    await task
    assert len(world.teacher.asked) == 4
    world.teacher.hold = None
    await world.watch()
    once_each(world, 40)
    assert len(world.teacher.asked) == 40


@pytest.mark.parametrize("failure", ["unknown_committed", "unknown_open", "aborted"])
async def test_commits_that_go_wrong_leave_each_label_once(world: WatchingWorld, failure: str) -> None:
    world.decide(30)
    world.broker.fail_next_commit(failure, "mira.watcher.text")  # type: ignore[arg-type]
    await world.watch()
    once_each(world, 30)
    assert len(world.teacher.asked) == 30


async def test_offsets_that_the_broker_forgot_double_no_label(world: WatchingWorld) -> None:
    world.decide(30)
    await world.watch()
    producer = await world.broker.producer("anyone")
    partitions = await (await world.broker.reader()).partitions("mira.decisions")
    await producer.commit([], dict.fromkeys(partitions, 0), "mira.watcher.text")
    world.decide(10)
    await world.watch()
    once_each(world, 40)


async def test_what_retention_deleted_before_the_watch_came_is_counted(world: WatchingWorld) -> None:
    world.decide(40)
    partition = TopicPartition("mira.decisions", 1)
    before = [record for record in world.broker.records("mira.decisions") if record.partition == 1]
    world.broker.delete_before(partition, before[5].offset)
    await world.watch()
    assert len(world.labels()) == 35
    assert world.counted("mira_watch_missed_total") == 5


async def test_a_teacher_that_is_down_is_waited_for_and_the_watch_lags(world: WatchingWorld) -> None:
    world.decide(12)
    world.teacher.down = True
    stop = asyncio.Event()
    task: asyncio.Task[object] = asyncio.create_task(world.watch(stop, once=False, patient=True))
    await world.until(task, lambda: world.counted("mira_watch_teacher_silent_total") >= 3)
    assert world.labels() == []
    assert world.counted("mira_watch_lag_offsets", group="text") == 12
    world.teacher.down = False
    await world.until(task, lambda: len(world.labels()) == 12)
    stop.set()
    await task
    once_each(world, 12)


async def test_a_watch_that_is_to_end_gives_a_silent_teacher_up(world: WatchingWorld) -> None:
    world.decide(3)
    world.teacher.down = True
    with pytest.raises(StageStopped) as stopped:
        await world.watch()
    assert (stopped.value.code, stopped.value.exit_code) == ("teacher_silent", 4)
    world.teacher.down = False
    await world.watch()
    once_each(world, 3)


async def test_an_unreadable_reply_is_a_label_with_a_reason(world: WatchingWorld) -> None:
    world.decide(4)
    partial = "\n".join(f"[A{slot}] 7/10" for slot in range(1, READ_MIN))
    world.teacher.answer = lambda question: "I like it." if question.key.endswith("/0") else partial
    _, follower = await world.watch()
    assert follower.unanswered == {"reply_unreadable": 4}
    assert {(label.scores, label.attempts, label.prompt_tokens) for label in world.labels()} == {(None, 2, 200)}


async def test_a_teacher_that_is_never_readable_stops_the_watch_before_the_sample_is_burnt(
    world: WatchingWorld,
) -> None:
    world.decide(120)
    world.teacher.answer = lambda question: "I like it."
    with pytest.raises(StageStopped, match="too_many_dead_letters"):
        await world.watch()
    assert len(world.labels()) < 120


async def test_content_that_is_gone_or_another_is_a_label_with_a_reason(world: WatchingWorld) -> None:
    world.decide(9)
    world.decide(1, lineage="abc")
    documents = world.project.documents_topic("text")
    records = world.broker.records(documents)
    deleted = [record for record in records if record.partition == 0]
    world.broker.delete_before(TopicPartition(documents, 0), deleted[-1].offset + 1)
    far = Origin(topic=documents, partition=1, offset=10_000, timestamp_ms=START_MS)
    world.append_decision(Document(id="never", source="notes"), far, [5.0] * 15, "above", {})
    other = next(record for record in records if record.partition == 1)
    same = Origin(topic=documents, partition=1, offset=other.offset, timestamp_ms=START_MS)
    world.append_decision(Document(id="someone-else", source="notes"), same, [5.0] * 15, "above", {})
    of_another_group: dict[str, object] = {"group": "qa", "source": "questions"}
    world.append_decision(Document(id="q", source="questions"), same, [5.0] * 15, "above", of_another_group)
    _, follower = await world.watch()
    another = sum(label.lineage == "abc" for label in world.labels())
    assert another == follower.unanswered["other_lineage"] == 1
    assert follower.unanswered["content_deleted"] == len(deleted) - any(
        label.lineage == "abc" and label.origin.partition == 0 for label in world.labels()
    )
    assert follower.unanswered["content_missing"] == follower.unanswered["content_differs"] == 1
    assert len(world.labels()) == 12
    assert follower.unanswered.keys() <= set(LABEL_REASONS)


async def test_a_source_added_while_the_watch_runs_is_watched(world: WatchingWorld) -> None:
    await publish(world.broker, world.project, lineage, read_columns)
    stop = asyncio.Event()
    task: asyncio.Task[object] = asyncio.create_task(world.watch(stop, once=False))
    world.decide(5)
    await world.until(task, lambda: len(world.labels()) == 5)
    await add_source(world.project, world.broker, "diary", like="notes", group=None, path="", retention=None)
    world.decide(20, source="diary")
    await world.until(task, lambda: len(world.labels()) == 25)
    stop.set()
    await task
    once_each(world, 25)
    found = [label for label in world.labels() if label.source == "diary"]
    assert {(label.reason, label.scores is None) for label in found} == {(None, False)}
    assert world.counted("mira_watch_labels_total", source="diary", arm="uniform", outcome="answered") == 20


async def test_a_source_that_nobody_added_is_a_label_with_a_reason(world: WatchingWorld) -> None:
    world.decide(2, source="diary")
    _, follower = await world.watch()
    assert follower.unanswered == {"unknown_source": 2}


async def test_the_budget_is_a_hard_stop_over_all_lives_of_the_watch(world: WatchingWorld) -> None:
    world.decide(50)
    with pytest.raises(BudgetReached):
        await world.watch(budget=Budget(tokens_max=3_000))
    asked = len(world.teacher.asked)
    assert 5 <= asked <= 3_000 / 120
    with pytest.raises(BudgetReached):
        await world.watch(budget=Budget(tokens_max=3_000))
    assert len(world.teacher.asked) == asked
    await world.watch(budget=Budget(tokens_max=100_000))
    once_each(world, 50)
    assert len(world.teacher.asked) == 50
    (world.root / "work" / "watch-text.journal").unlink()
    world.decide(1)
    with pytest.raises(BudgetReached):  # the labels themselves say what was paid
        await world.watch(budget=Budget(tokens_max=6_100))


async def test_a_restart_forgets_no_window_and_no_alarm(world: WatchingWorld) -> None:
    for hour in range(3):
        at_ms = START_MS + hour * HOUR_MS
        if hour:
            world.decide(110, at_ms, scores=[1.0] * 15)
        else:
            world.decide(110, at_ms)
        status, _ = await world.watch()
    assert {(cell.slot, cell.alarm) for cell in status.alarms} == {(f"A{slot}", "unreliable") for slot in range(1, 15)}
    again, follower = await world.watch()
    assert again == status
    assert follower.prompt_tokens == 330 * 100
    assert world.counted("mira_watch_alarm", source="notes", dimension="A1", alarm="unreliable") == 1
    assert world.counted("mira_watch_cell_labels", source="notes", dimension="A1") == 110


async def test_a_watch_that_lags_closes_no_span_it_is_still_in(
    world: WatchingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "LOOK_S", 0.01)
    world.decide(110)
    world.decide(30, START_MS + HOUR_MS, scores=[1.0] * 15)
    last = world.count - 1
    world.decide(200, START_MS + 2 * HOUR_MS)
    hold = asyncio.Event()
    ask = world.teacher.ask

    async def slow(question: Question, attempt: int) -> Answer:
        if f"number {last} says" in view_in(question):
            await hold.wait()
        return await ask(question, attempt)

    world.teacher.ask = slow  # type: ignore[method-assign]
    stop = asyncio.Event()
    task: asyncio.Task[object] = asyncio.create_task(world.watch(stop, once=False))
    await world.until(task, lambda: len(world.labels()) >= 150)
    seen = len(world.statuses)
    await world.until(task, lambda: len(world.statuses) > seen + 1)
    assert {cell.window.n for cell in world.statuses[-1].cells} == {110}
    hold.set()
    await world.until(task, lambda: len(world.labels()) == 340)
    seen = len(world.statuses)
    await world.until(task, lambda: len(world.statuses) > seen + 1)
    assert {cell.window.n for cell in world.statuses[-1].cells} == {230}
    stop.set()
    await task
    once_each(world, 340)


async def test_an_audit_sees_nothing_of_the_watch(world: WatchingWorld) -> None:
    world.decide(20)
    reader = await world.broker.reader()
    before = await take_snapshot(world.project, world.broker, reader, None)
    await world.watch()
    assert len(world.labels()) == 20
    assert await take_snapshot(world.project, world.broker, reader, None) == before
