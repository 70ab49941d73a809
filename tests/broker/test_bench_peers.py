"""The comparison with peers in small, against a stand-in server: whether it counts right, not how fast anything is."""

from pathlib import Path

import pytest

from bench.peering import judging, passing
from bench.peering.environments import OURS, Environment, NotInstalled, python_of
from bench.peering.judging import Judging, Work, judge_all
from bench.peering.passing import Passing, pass_all
from bench.peering.serving import Server
from bench.peers import DEMO_PROJECT, asked, judge_table, parse_arguments, pass_table, result
from mira_stream.config import load_project
from tests.faults.endpoint import Endpoint, serving

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
DOCUMENTS, RECORDS = 40, 2_000
HERE = ("vllm serve, asyncio client", "mira-stream, vllm serve")


async def test_scoring_is_counted_killed_and_poisoned(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    said: list[str] = []
    async with serving(Endpoint()) as endpoint:
        server = Server(endpoint.url, "scripted")
        found, bodies = asked(load_project(DEMO_PROJECT, environment={}), "text", DOCUMENTS, server)
        assert len(found) == len(bodies)
        assert all("structured_outputs" in body for body in bodies.values())
        work = Work(DEMO_PROJECT, "text", found, bodies, {}, 4, kafka, server, tmp_path / "judge", 120.0)
        sides = [side for side in judging.SIDES if side.name in HERE]
        measured = await judge_all(Judging(work, tmp_path / "environments"), sides, 1, said.append)
    assert [one.failed for one in measured] == ["", ""]
    client, stream = measured
    for one in measured:
        assert len(one.seconds) == 1
        assert one.seconds[0] > 0
        assert one.peak_mib > 10
        assert one.killed is not None
        assert one.killed.missing == 0
        assert one.killed.ratio is None  # the stand-in counts no tokens
        assert one.poisoned is not None
        assert one.poisoned.others == len(found)  # nor does it refuse any document
    assert client.killed is not None
    assert client.killed.twice > 0  # it keeps no account of what is done
    assert stream.killed is not None
    assert stream.killed.twice == 0
    assert judge_table(measured, len(found)).row_count == 2
    block = result(parse_arguments(["--documents", str(len(found))]), {"judge": measured})
    assert block["judge"]["mira-stream, vllm serve"]["killed"]["twice"] == 0


@pytest.mark.parametrize("document_s", [0.0, 0.01])
async def test_passing_on_is_counted_and_killed(
    kafka: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document_s: float
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    sides = [side for side in passing.SIDES if side.environment == OURS]
    run = Passing(kafka, prefix, tmp_path / "pass", tmp_path / "environments", 64, 120.0)
    passed = await pass_all(run, sides, RECORDS, document_s, 1, list[str]().append)
    names = ["aiokafka alone", "mira-stream's runner"] if not document_s else ["mira-stream's runner"]
    assert [(one.side.name, one.failed, len(one.seconds), one.lost) for one in passed] == [
        (name, "", 1, (0, 0)) for name in names
    ]
    assert pass_table(passed, RECORDS).row_count == len(names)


async def test_a_peer_that_cannot_be_had_says_so(tmp_path: Path) -> None:
    nowhere = Environment("nowhere", (str(tmp_path / "no-such-package.whl"),))
    with pytest.raises(NotInstalled):
        await python_of(nowhere, tmp_path)
