"""`bench kafka` in small, on a Kafka of its own that is gone afterwards."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from mira_stream.benching.flow import PREFIX, Given
from mira_stream.benching.load import Load
from mira_stream.benching.running import Plan, measure
from mira_stream.broker_local.data_dir import DataDir
from mira_stream.errors import DependencyError
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


async def test_a_kafka_that_dies_amid_a_bench_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    given = [Given("text", Document(id="0", source="posts", text="post"))]
    plan = Plan(kind="kafka", groups=["text"], load=Load(documents=60, outstanding=30), repetitions=100_000)

    def told(line: str) -> None:
        if line.startswith("turn 1/"):
            runtime = DataDir(next(tmp_path.iterdir())).read_runtime()
            assert runtime is not None
            os.kill(runtime.pid, signal.SIGKILL)

    with pytest.raises(DependencyError, match=r"bench_broker: the bench's own Kafka.*SIGKILL"):
        await measure(simulated_project(1), plan, given, "20260101T000000Z", told)
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in folder.iterdir()] == ["logs"]
