"""What a Watcher reads of a project and its log, and what it says it has not read."""

import os
import shutil
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from rich.console import Console

from mira_stream.cli.status_view import view
from mira_stream.config import Project, load_project
from mira_stream.messages import DeadLetter, encode
from mira_stream.observing.facts import Answer
from mira_stream.observing.snapshot import Snapshot
from mira_stream.observing.watcher import LETTERS_TAIL, Watcher
from mira_stream.streaming.ports import TopicSpec
from mira_stream.testing.broker import MemoryBroker
from tests.machine import ROOT

DEMO = ROOT / "mira_stream" / "demo" / "project"


async def nobody() -> Mapping[str, Answer]:
    return {}


def project_at(root: Path) -> Project:
    shutil.copytree(DEMO, root, ignore=shutil.ignore_patterns("students", "labels"), dirs_exist_ok=True)
    return load_project(root)


def shown(snapshot: Snapshot) -> str:
    console = Console(width=200, record=True, file=StringIO())
    console.print(view(snapshot))
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
    watcher = Watcher(project, broker, nobody)
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
