"""The comparison with peers in small, against a stand-in server: whether it counts right, not how fast anything is."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.command import DEMO_PROJECT
from bench.peering import judging, passing
from bench.peering.environments import OURS, Environment, NotInstalled, python_of
from bench.peering.judged import Killed, Side, Work
from bench.peering.judging import Judging, judge_all
from bench.peering.passing import Passing, pass_all
from bench.peering.processes import Program
from bench.peering.serving import Server
from bench.peers import asked, distinct, heldout, judge_table, parse_arguments, pass_table, result, said_again
from mira_stream.config import load_project
from mira_stream.demo.corpora import documents
from mira_stream.errors import UsageError
from mira_stream.messages import Document
from tests.faults.endpoint import Endpoint, serving

pytestmark = [pytest.mark.broker, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
DOCUMENTS, RECORDS = 40, 2_000
CHARACTERS_MAX = 200_000
LIMIT_S = 400.0
SERVED = ("vllm serve, asyncio client", "mira-stream, vllm serve")
SIDES = [side for side in judging.SIDES if side.name in SERVED]


def work_of(kafka: str, folder: Path, endpoint: Endpoint, documents: int) -> Work:
    """Of this process there is memory to measure, as there is of a broker's."""
    server, project = Server(endpoint.url, "scripted"), load_project(DEMO_PROJECT, environment={})
    found = heldout(project, "text", documents)
    bodies = asked(project, "text", found, server)
    assert all("structured_outputs" in body for body in bodies.values())
    return Work(DEMO_PROJECT, "text", found, bodies, {}, 4, kafka, server, folder, LIMIT_S, (os.getpid(),))


class AtTheHalf(Judging):
    """What is killed has more than half of its answers, and gets no more of them however long its killer needs."""

    def __init__(self, work: Work, environments: Path, endpoint: Endpoint) -> None:
        super().__init__(work, environments)
        self._endpoint = endpoint

    async def kill(self, side: Side, tokens: int | None) -> Killed:
        self._endpoint.stand_still_behind(DOCUMENTS * 3 // 4)
        return await super().kill(side, tokens)

    async def _to_the_end(self, side: Side, program: Program) -> int | None:
        self._endpoint.go_on()
        return await super()._to_the_end(side, program)


async def test_scoring_is_counted_killed_and_poisoned(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    said: list[str] = []
    async with serving(Endpoint(characters_max=CHARACTERS_MAX)) as endpoint:
        work = work_of(kafka, tmp_path / "judge", endpoint, DOCUMENTS)
        found = work.documents
        assert len(found) == DOCUMENTS
        judging = AtTheHalf(work, tmp_path / "environments", endpoint)
        measured = await judge_all(judging, SIDES, 1, said.append, 0.0)
    assert [one.failed for one in measured] == ["", ""]
    client, stream = measured
    for one in measured:
        assert len(one.seconds) == 1
        assert one.seconds[0] > 0
        assert one.peak_mib > 0
        assert one.killed is not None
        assert (one.killed.missing, one.killed.refused, one.killed.status) == (0, 0, 0)
        assert one.killed.ratio is None  # the stand-in counts no tokens
    assert client.killed is not None
    assert client.killed.twice > 0  # it keeps no account of what is done
    assert stream.killed is not None
    assert stream.killed.twice == 0
    assert client.poisoned is not None
    assert client.poisoned.status == 1
    assert client.poisoned.others < len(found)
    assert "too many" in client.poisoned.said
    assert stream.poisoned is not None
    assert stream.poisoned[:4] == (len(found), True, 0, 0)  # all have results: it asks about a shortened view
    assert client.broker_mib == 0
    assert stream.broker_mib > 0
    assert judge_table(measured, len(found)).row_count == 2
    block = result(parse_arguments(["--documents", str(len(found))]), {"judge": measured})
    assert block["judge"]["mira-stream, vllm serve"]["killed"]["twice"] == 0


async def test_dead_letters_are_no_results(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    async with serving(Endpoint(characters_max=0)) as endpoint:
        judging = Judging(work_of(kafka, tmp_path / "judge", endpoint, 3), tmp_path / "environments")
        (measured,) = await judge_all(judging, SIDES[1:], 1, list[str]().append, 0.0)
    assert "of 3 documents 0 results, 3 dead letters" in measured.failed
    assert measured.rate(3) is None


def test_documents_come_again_where_there_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(most: int) -> Callable[..., Iterator[Document]]:
        return lambda source, count, wanted: documents(source, min(count, most), wanted)

    project = load_project(DEMO_PROJECT, environment={})
    monkeypatch.setattr("bench.peers.documents", few(3))
    assert distinct(heldout(project, "text", 5)) == 5
    found = heldout(project, "text", 14)
    assert (len({one.id for one in found}), distinct(found)) == (14, 6)
    assert [one.text for one in found[6:12]] == [one.text for one in found[:6]]
    given = parse_arguments(["--documents", "14"])
    assert said_again(given) == ""
    given.distinct = distinct(found)
    assert "6 of them distinct" in said_again(given)
    assert result(given, {"judge": []})["documents_distinct"] == 6
    monkeypatch.setattr("bench.peers.documents", few(0))
    with pytest.raises(UsageError, match="no held-out documents"):
        heldout(project, "text", 5)


@pytest.mark.parametrize(("document_s", "records"), [(0.0, RECORDS), (0.01, RECORDS), (0.0, 8)])
async def test_passing_on_is_counted_and_killed(
    kafka: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document_s: float, records: int
) -> None:
    """Without work, and with eight records for certain, all may be passed on before the killer has looked."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    sides = [side for side in passing.SIDES if side.environment == OURS]
    run = Passing(kafka, prefix, tmp_path / "pass", tmp_path / "environments", 64, LIMIT_S)
    passed = await pass_all(run, sides, records, document_s, 1, list[str]().append, 0.0)
    names = ["aiokafka alone", "mira-stream's runner"] if not document_s else ["mira-stream's runner"]
    assert [(one.side.name, one.failed, len(one.seconds), one.lost) for one in passed] == [
        (name, "", 1, (0, 0)) for name in names
    ]
    assert all(one.killed_at and records // 2 <= one.killed_at <= records for one in passed)
    assert pass_table(passed, records).row_count == len(names)


async def test_a_peer_that_cannot_be_had_says_so(tmp_path: Path) -> None:
    nowhere = Environment("nowhere", (str(tmp_path / "no-such-package.whl"),))
    with pytest.raises(NotInstalled):
        await python_of(nowhere, tmp_path)
