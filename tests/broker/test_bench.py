"""`bench kafka` in small, on a Kafka of its own that is gone afterwards."""

import tempfile
from pathlib import Path

import pytest

from mira_stream.benching.flow import PREFIX, Given
from mira_stream.benching.load import Load
from mira_stream.benching.running import Plan, measure
from mira_stream.messages import Document
from tests.simulation.project import simulated_project

pytestmark = pytest.mark.broker


async def test_every_document_ends_once_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    given = [Given("text", Document(id=str(n), source="posts", text=f"post {n}")) for n in range(20)]
    plan = Plan(kind="kafka", groups=["text"], load=Load(documents=60, outstanding=30), repetitions=2)
    said: list[str] = []
    run = await measure(simulated_project(1), plan, given, "20260101T000000Z", said.append)
    assert [turn.documents for turn in run.turns] == [60, 60]
    assert run.result.dead_letters == 0
    assert run.stand_in.startswith("the engine is a stand-in")
    assert run.result.peak_memory_mib > 0
    assert not list(tmp_path.glob(f"{PREFIX}-*"))
    assert any(line.startswith("turn 2/2:") for line in said)
