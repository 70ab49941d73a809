"""`bench tune` in small, with stand-ins for engines whose speed depends on the settings."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from mira_stream.consumers import scorer

import mira_stream.demo
from mira_stream.benching import alternating, direct
from mira_stream.benching.alternating import Alternating
from mira_stream.benching.direct import DirectBench
from mira_stream.benching.load import Load
from mira_stream.benching.result import Turn
from mira_stream.benching.standin import StandInEngine
from mira_stream.benching.turns import take
from mira_stream.cli.main import main
from mira_stream.config import Project
from mira_stream.errors import DependencyError, EngineError
from mira_stream.scoring.engine import Completion, Engine, Request
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.tuning.running import run_search
from mira_stream.tuning.space import Knob
from tests.flow.test_bench import GIVEN, quiet
from tests.simulation.project import simulated_project

TEXT = [one for one in GIVEN if one.group == "text"]
LOAD = Load(documents=6, outstanding=6)
SEQUENCES = Knob(name="max_num_seqs", table="group", now=64, values=[2, 3])


SECONDS = {3: 0.5}
"""What a repetition takes by sequences, else one second: no test of ours measures this machine."""


class Timed(StandInEngine):
    """With 5 sequences it does not start, with 6 it dies at work."""

    alive_now: list[int] = []  # noqa: RUF012
    most = 0

    def __init__(self, sequences: int) -> None:
        super().__init__()
        self.sequences = sequences

    async def start(self) -> None:
        if self.sequences == 5:
            raise DependencyError("engine_start", "five do not fit", "no")
        await super().start()
        self.alive_now.append(self.sequences)
        Timed.most = max(Timed.most, len(self.alive_now))

    async def stop(self) -> None:
        if self.sequences in self.alive_now:
            self.alive_now.remove(self.sequences)
        await super().stop()

    async def generate(self, request: Request) -> Completion:
        if self.sequences == 6:
            raise EngineError("dead", retriable=False)
        return await super().generate(request)


def build(project: Project, group: str) -> Engine:
    return Timed(project.settings.groups[group].max_num_seqs)


PROJECT = simulated_project(0)


async def timed(bench: DirectBench, *arguments: Any) -> Turn:
    """A real repetition whose seconds are those of SECONDS."""
    sequences = bench.project.settings.groups["text"].max_num_seqs
    return msgspec.structs.replace(await take(bench, *arguments), seconds=SECONDS.get(sequences, 1.0))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead engine is asked again at once: nobody waits for one that stays dead."""
    Timed.alive_now.clear()
    Timed.most = 0
    monkeypatch.setattr(alternating, "take", timed)
    monkeypatch.setattr(direct, "ScoringFactory", partial(ScoringFactory, pauses_s=(0.0, 0.0)))


async def test_the_faster_settings_are_found_and_every_engine_is_stopped() -> None:
    engines = Alternating("text", TEXT, build, LOAD, quiet, rest_s=0.0)
    try:
        found = await run_search(PROJECT, "text", [SEQUENCES], 3, engines, quiet)
    finally:
        await engines.close()
    assert found.changes == {"max_num_seqs": 3}
    assert [duel.knob for duel in found.duels] == ["max_num_seqs", "max_num_seqs", "confirmation: max_num_seqs"]
    assert (Timed.alive_now, Timed.most) == ([], 2)


async def test_no_start_lies_between_the_two_sides_of_a_pair() -> None:
    said: list[str] = []
    engines = Alternating("text", TEXT, build, LOAD, said.append, rest_s=0.0)
    try:
        await run_search(PROJECT, "text", [msgspec.structs.replace(SEQUENCES, values=[3])], 3, engines, quiet)
    finally:
        await engines.close()
    assert ["starting" in line for line in said] == [True, True] + [False] * 12


async def test_on_a_gpu_one_engine_lives_at_a_time() -> None:
    engines = Alternating("text", TEXT, build, LOAD, quiet, alive=1, rest_s=0.0)
    try:
        await run_search(
            simulated_project(0), "text", [msgspec.structs.replace(SEQUENCES, values=[3])], 3, engines, quiet
        )
    finally:
        await engines.close()
    assert (Timed.alive_now, Timed.most) == ([], 1)


@pytest.mark.parametrize("bad", [5, 6])
async def test_settings_that_do_not_run_have_lost_and_those_in_force_must(bad: int) -> None:
    engines = Alternating("text", TEXT, build, LOAD, quiet, rest_s=0.0)
    try:
        found = await run_search(
            simulated_project(0), "text", [msgspec.structs.replace(SEQUENCES, values=[bad])], 3, engines, quiet
        )
        assert [duel.verdict for duel in found.duels] == ["failed"]
        assert found.changes == {}
        with pytest.raises(DependencyError, match="tune_start"):
            await run_search(
                simulated_project(0), "text", [msgspec.structs.replace(SEQUENCES, now=bad)], 3, engines, quiet
            )
    finally:
        await engines.close()
    assert Timed.alive_now == []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one group on the disk, its engine a stand-in in vLLM's place."""
    whole = simulated_project(0)
    for name in ("rubrics", "prompts", "reliability"):
        (tmp_path / name).symlink_to(whole.root / name)
    (tmp_path / "students").symlink_to(Path(mira_stream.demo.__file__).parent / "project" / "students")
    rows = [orjson.dumps({"id": str(n), "text": f"post {n} " * 20}) for n in range(8)]
    (tmp_path / "posts.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    (tmp_path / "mira.toml").write_text(
        '# mine\n[groups.text]\nfamily = "text"\nmax_num_seqs = 64 # so far\n\n'
        '[sources.posts]\ngroup = "text"\npath = "posts.jsonl"\n\n[limits]\nin_flight_documents = 6\n'
    )
    monkeypatch.setattr(scorer, "build_engine", build)
    monkeypatch.setattr(Alternating.__init__, "__defaults__", (2, 0.0))
    return tmp_path


def tune(project: Path, *more: str) -> int:
    asked = ["bench", "tune", "--project", str(project), "--knob", "max_num_seqs", "--documents", "6", "--repeat", "3"]
    return main([*asked, *more])


def test_the_winner_is_written_with_the_table_of_what_was_tried(
    project: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    before = (project / "mira.toml").read_bytes().replace(b"\n", b"\r\n")
    (project / "mira.toml").write_bytes(before)
    assert tune(project, "--dry-run") == 0
    assert (project / "mira.toml").read_bytes() == before
    assert b"not written (--dry-run)" in capsysbinary.readouterr().out
    assert tune(project, "--json") == 0
    found: dict[str, Any] = orjson.loads(capsysbinary.readouterr().out)
    assert (found["changes"], found["written"], found["start"]) == ({"max_num_seqs": 3}, True, {"max_num_seqs": 64})
    assert [duel["value"] for duel in found["duels"]] == ["1", "3", "3"], "6 are no fewer than the 64 in force"
    assert orjson.loads(Path(found["file"]).read_bytes())["duels"] == found["duels"]
    assert (project / "mira.toml").read_bytes() == before.replace(b"64", b"3"), "its ends of lines, too"
    assert Timed.alive_now == []


def test_stopped_or_overtaken_mira_toml_is_as_it_was(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    before = (project / "mira.toml").read_text()

    async def stopped(*arguments: object) -> object:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr("mira_stream.tuning.running.run_search", stopped)
        assert tune(project) == 130
    assert b"stopped: nothing is saved, mira.toml is as it was" in capsysbinary.readouterr().err
    assert (project / "mira.toml").read_text() == before

    async def overtaken(*arguments: Any) -> object:
        (project / "mira.toml").write_text(before + "# theirs\n")
        return await run_search(*arguments)

    monkeypatch.setattr("mira_stream.tuning.running.run_search", overtaken)
    assert tune(project) == 3
    assert (project / "mira.toml").read_text() == before + "# theirs\n"


def test_where_no_value_can_be_tried_nothing_is_started(
    project: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert tune(project, "--documents", "1") == 2
    said = capsysbinary.readouterr().err.decode()
    assert "tune_documents" in said
    assert "use --documents 6 or more" in said
    toml = (project / "mira.toml").read_text()
    (project / "mira.toml").write_text(toml.replace("in_flight_documents = 6", "in_flight_documents = 1"))
    assert tune(project, "--documents", "1") == 2
    assert "tune_nothing" in capsysbinary.readouterr().err.decode()
    assert not (project / "bench").exists() or not list((project / "bench").iterdir())


def test_repetitions_that_never_fill_the_engine_are_said_to_be_such(
    project: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert tune(project, "--documents", "5", "--dry-run") == 0
    said = capsysbinary.readouterr()
    for where in (said.out, said.err):
        assert "which asks 6 at once" in " ".join(where.decode().split())
    assert tune(project, "--dry-run") == 0
    assert b"at once" not in capsysbinary.readouterr().out


def test_an_engine_elsewhere_is_not_tuned(tmp_path: Path) -> None:
    (tmp_path / "mira.toml").write_text('[groups.text]\nfamily = "text"\nengine = "openai"\nbase_urls = ["http://a"]\n')
    assert tune(tmp_path) == 2
