"""What a Watcher reads of a project and its log, and what it says it has not read."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from mira_stream.cli.status_view import view
from mira_stream.config import Project, load_project
from mira_stream.errors import DependencyError
from mira_stream.messages import DeadLetter, encode
from mira_stream.observing.facts import Answer, Look, Shape
from mira_stream.observing.observer import NEWS_MS, Observer
from mira_stream.observing.scraped import parse
from mira_stream.observing.snapshot import BrokerRow, KeptRow, Snapshot, Trouble
from mira_stream.observing.watcher import HEAR_S, LETTERS_TAIL, Watcher
from mira_stream.records import LogReader, Outgoing, TopicPartition
from mira_stream.streaming.ports import Broker, TopicSpec
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from tests.machine import ROOT
from tests.virtual import in_virtual_time

DEMO = ROOT / "mira_stream" / "demo" / "project"


async def nobody() -> Mapping[str, Answer]:
    return {}


def project_at(root: Path) -> Project:
    shutil.copytree(DEMO, root, ignore=shutil.ignore_patterns("students", "labels"), dirs_exist_ok=True)
    return load_project(root)


def shown(snapshot: Snapshot, later_ms: int = 0) -> str:
    """As `status` shows it so long after it was made."""
    console = Console(width=200, record=True, file=StringIO())
    console.print(view(snapshot, snapshot.at_ms + later_ms))
    return console.export_text()


async def test_the_heat_map_follows_a_new_measurement(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    path = project.reliability_path("text")
    watcher = Watcher(project, None, nobody)
    before = {row.group for row in (await watcher.look(1000)).reliability}
    assert "text" in before
    table = path.read_bytes()
    path.unlink()
    assert {row.group for row in (await watcher.look(2000)).reliability} == before - {"text"}
    path.write_bytes(table)
    assert {row.group for row in (await watcher.look(3000)).reliability} == before
    draft = path.with_name("draft")
    draft.write_bytes(table.replace(b'"reliable"', b'"unreliable"'))
    os.replace(draft, path)
    verdicts = {
        cell.verdict for row in (await watcher.look(4000)).reliability if row.group == "text" for cell in row.cells
    }
    assert "reliable" not in verdicts


async def test_dead_letters_that_were_not_read_are_not_none(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    blind = await Watcher(project, None, nobody).look(1000)
    assert not blind.dead_read
    assert "dead letters: not read" in shown(blind)
    broker = MemoryBroker()
    topic = project.topic("dead-letters")
    await broker.create_topics([TopicSpec(topic, 1)], 1)
    watcher = Watcher(project, lambda: broker, nobody)
    empty = await watcher.look(1000)
    assert (empty.dead_read, empty.dead_counts, empty.dead_earlier) == (True, [], 0)
    letter = encode(DeadLetter(stage="score", reason="too_long", error="e", head=""))
    for _ in range(LETTERS_TAIL + 7):
        broker.append(topic, None, letter)
    full = await watcher.look(3000)
    assert (full.dead_counts[0].letters, full.dead_earlier) == (LETTERS_TAIL, 7)
    again = await watcher.look(5000)
    assert (again.dead_counts[0].letters, again.dead_earlier) == (LETTERS_TAIL, 7)
    assert "of the newest; all: mira-stream dlq list" in shown(again)
    await watcher.close()


async def test_markers_of_transactions_do_not_wait(tmp_path: Path) -> None:
    """Behind the last record that a reader has committed there are only markers; then a record comes."""
    project, broker = project_at(tmp_path), MemoryBroker()
    scores = project.topic("scores")
    await broker.create_topics(topic_specs(project), 1)
    producer = await broker.producer("scorer")
    for _ in range(3):
        await producer.commit([Outgoing(scores, b"k", b"card", 0)], {}, None)
    reader = await broker.producer("aggregator")
    end = (await (await broker.reader()).bounds([TopicPartition(scores, 0)]))[TopicPartition(scores, 0)][1]
    await reader.commit([], {TopicPartition(scores, 0): end - 1}, project.consumer_group("aggregator"))
    watcher = Watcher(project, lambda: broker, nobody)

    async def waiting(at_ms: int) -> tuple[int | None, float | None]:
        stage = next(one for one in (await watcher.look(at_ms)).stages if one.name == "scores")
        return stage.backlog, stage.backlog_s

    await waiting(1000)
    assert await waiting(3000) == (0, 0.0)
    assert await waiting(30_000) == (0, 0.0)
    await producer.commit([Outgoing(scores, b"k", b"card", 0)], {}, None)
    await waiting(32_000)
    backlog, age_s = await waiting(34_000)
    assert backlog == 1
    assert age_s == 2.0
    await watcher.close()


async def test_what_stands_behind_an_open_transaction_waits_though_nobody_can_read_it(tmp_path: Path) -> None:
    project, broker = project_at(tmp_path), MemoryBroker()
    scores = project.topic("scores")
    await broker.create_topics(topic_specs(project), 1)
    watcher, hold = Watcher(project, lambda: broker, nobody), broker.hold_next_commit()

    async def waiting(at_ms: int) -> tuple[int | None, float | None]:
        stage = next(one for one in (await watcher.look(at_ms)).stages if one.name == "scores")
        return stage.backlog, stage.backlog_s

    assert await waiting(1000) == (0, 0.0)
    stranger = await broker.producer("stranger")
    committing = asyncio.create_task(stranger.commit([Outgoing(scores, b"k", b"card", 0)], {}, None))
    await hold.reached.wait()
    broker.append(scores, b"k", b"card", 0)
    assert await waiting(3000) == (2, 0.0)
    assert await waiting(63_000) == (2, 60.0)
    hold.release()
    await committing
    await watcher.close()


async def test_a_broker_that_is_away_is_told_since_when_and_connected_to_anew(tmp_path: Path) -> None:
    """It was restarted elsewhere: the address is asked for again."""
    project, broker, there = project_at(tmp_path), MemoryBroker(), False

    def connect() -> Broker:
        if not there:
            raise DependencyError("broker_not_running", "no embedded broker runs", "start it: mira-stream broker start")
        return broker

    watcher = Watcher(project, connect, nobody)
    first, second = await watcher.look(1000), await watcher.look(9000)
    assert (second.broker.answers, second.broker.since_ms) == (False, 1000)
    assert second.broker.error == Trouble(
        code="broker_not_running", cause="no embedded broker runs", fix="start it: mira-stream broker start"
    )
    assert "the broker is away, since before " in shown(first)
    assert "do: start it: mira-stream broker start" in shown(second)
    assert "flows" not in shown(second)
    there = True
    third = await watcher.look(11_000)
    assert third.broker == BrokerRow(answers=True)
    assert "everything flows" not in shown(third), "no service answers"
    there = False
    assert (await watcher.look(12_000)).broker.answers is True, "the connection is kept while it is good"


class Frozen(MemoryBroker):
    """Answers nothing while it stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()

    async def reader(self) -> LogReader:
        await self.goes_on.wait()
        return await super().reader()


@in_virtual_time
async def test_a_broker_that_stands_still_is_told_at_once_and_since_when_counts_on(tmp_path: Path) -> None:
    """Looks go on beside the answer that it owes, with what services say; the first answer ends it."""
    broker = Frozen()

    async def services() -> Mapping[str, Answer]:
        return {"score": Answer("http://127.0.0.1:1", parse('mira_in_flight{stage="score.text",unit="documents"} 1\n'))}

    watcher = Watcher(project_at(tmp_path), lambda: broker, services)
    broker.goes_on.set()
    assert (await watcher.look(1000)).broker.answers
    await watcher.close()
    broker.goes_on.clear()
    first, second = await watcher.look(3000), await watcher.look(8000)
    assert [one.answers for one in second.services] == [True]
    assert (second.broker.answers, second.broker.since_ms, second.at_ms) == (False, 3000, 8000)
    assert "the broker does not answer" in shown(first)
    assert "(5 s)" in shown(second)
    assert "(9 s)" in shown(second, later_ms=4000)
    assert "as of 4 s ago" in shown(second, later_ms=4000)
    assert "as of" not in shown(second, later_ms=2000)
    assert "flows" not in shown(second)
    broker.goes_on.set()
    assert (await watcher.look(10_000)).broker.answers
    broker.goes_on.clear()
    await watcher.close()
    await watcher.look(12_000)
    await watcher.close()


@in_virtual_time
async def test_a_broker_that_answers_slowly_is_not_away(tmp_path: Path) -> None:
    class Slow(MemoryBroker):
        async def committed(self, *asked: Any) -> Mapping[TopicPartition, int]:
            await asyncio.sleep(0.75 * HEAR_S)
            return await super().committed(*asked)

    broker, project = Slow(), project_at(tmp_path)
    names = [*(project.documents_topic(group) for group in project.settings.groups), project.topic("scores")]
    await broker.create_topics([TopicSpec(name, 1) for name in names], 1)
    watcher = Watcher(project, lambda: broker, nobody)
    assert (await watcher.look(1000)).broker.answers
    await watcher.close()


def test_a_death_is_told_while_it_is_news(tmp_path: Path) -> None:
    died = KeptRow(name="score", state="runs", restarts=1, died_ms=100_000, why="signal SIGKILL")
    waits = replace(died, name="export", state="waits")
    observer = Observer(Shape("p", {}))

    def told(at_ms: int) -> list[str]:
        snapshot = observer.look(
            Look(at_ms, {}, {}, {}, {}), kept=[died, waits, KeptRow(name="aggregate", state="runs")]
        )
        assert [one.name for one in snapshot.kept] == ["score", "export", "aggregate"]
        return [line for line in shown(snapshot).splitlines() if "started again" in line]

    assert told(101_000)[0].startswith("score runs again; started again once, died last at")
    assert len(told(100_000 + NEWS_MS - 1)) == 2
    assert [line.split()[0] for line in told(100_000 + NEWS_MS)] == ["export"]


def status(tmp_path: Path, *more: str) -> "subprocess.Popen[str]":
    (tmp_path / "mira.toml").write_text("groups = {}\nsources = {}\n")
    command = [sys.executable, "-m", "mira_stream", "status", "--project", str(tmp_path), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_status_without_a_broker_says_the_way_out_and_fails(tmp_path: Path) -> None:
    with status(tmp_path, "--json") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 4
    found = json.loads(out)["broker"]
    assert (found["answers"], found["error"]["code"]) == (False, "broker_not_running")
    assert "mira-stream broker start" in found["error"]["fix"]
    assert "error broker_not_running" in err
    assert "do: start it: mira-stream broker start" in err


def test_status_can_be_piped(tmp_path: Path) -> None:
    with status(tmp_path) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert out.startswith("the broker is away, since before ")
    assert any(line.split()[:2] == ["stage", "state"] for line in out.splitlines())
    assert "stage" not in err
    assert "error broker_not_running" in err


def test_status_watch_goes_on_trying_and_says_since_when(tmp_path: Path) -> None:
    with status(tmp_path, "--json", "--watch") as process:
        assert process.stdout is not None
        rows = [json.loads(process.stdout.readline())["broker"] for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert rows[0] == rows[1]
    assert (rows[0]["answers"], rows[0]["since_ms"] > 0) == (False, True)
