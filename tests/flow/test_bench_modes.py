"""`bench modes` in small, with stand-ins for engines that are as fast as their mode is told to be."""

import asyncio
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import msgspec
import orjson
import pytest
from mira_stream.consumers import scorer

import mira_stream.demo
from mira_stream.benching import alternating, running
from mira_stream.benching.direct import DirectBench
from mira_stream.benching.load import Load
from mira_stream.benching.modes import MODES, measure_modes, rows_of
from mira_stream.benching.result import Turn
from mira_stream.benching.standin import StandInEngine
from mira_stream.benching.turns import take
from mira_stream.cli.main import main
from mira_stream.config import Project, load_project
from mira_stream.errors import UsageError
from mira_stream.scoring.engine import Engine
from tests.flow.test_bench import GIVEN
from tests.simulation.project import simulated_project
from tests.unit.test_benching import turn
from tests.virtual import in_virtual_time

SECONDS = {"scores": 1.0, "expected": 2.0}


async def timed(bench: DirectBench, *arguments: Any) -> Turn:
    """A real repetition whose seconds are those of SECONDS."""
    mode = bench.project.settings.groups["text"].mode
    return msgspec.structs.replace(await take(bench, *arguments), seconds=SECONDS[mode])


def build(project: Project, group: str) -> Engine:
    return StandInEngine()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's project, its sources made of a few rows, its engines stand-ins."""
    copytree(Path(mira_stream.demo.__file__).parent / "project", tmp_path / "p")
    (tmp_path / "p" / "corpus").mkdir()
    for source in ("stdlib", "distdocs"):
        rows = [orjson.dumps({"id": f"{source}-{n}", "text": f"{source} {n} " * 20}) for n in range(4)]
        (tmp_path / "p" / "corpus" / f"{source}.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    monkeypatch.setattr(scorer, "build_engine", build)
    monkeypatch.setattr(alternating, "take", timed)
    monkeypatch.setattr(alternating.Alternating.__init__, "__defaults__", (2, 0.0))
    return tmp_path / "p"


def bench_modes(project: Path, *more: str) -> int:
    asked = ["bench", "modes", "--project", str(project), "--group", "text", "--documents", "8", "--repeat", "2"]
    return main([*asked, *more])


def test_modes_the_student_was_taught_are_compared_and_the_others_named(
    project: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert bench_modes(project, "--json") == 0
    found: dict[str, Any] = orjson.loads(capsysbinary.readouterr().out)
    scores, expected = found["rows"]
    assert (scores["mode"], scores["documents_per_s"], scores["ratio"]) == ("scores", 8, 1)
    assert (expected["mode"], expected["ratio"], expected["ratio_least"]) == ("expected", 0.5, 0.5)
    assert scores["prompt_tokens"] > scores["reply_tokens"] > 0
    table = orjson.loads((project / "reliability" / "text.json").read_bytes())
    assert (scores["heldout"], expected["heldout"]) == (table["modes"]["scores"]["sources"]["*"]["n"], None)
    assert 0.9 < scores["gain"] < 1
    assert set(found["left_out"]) == {"rationale", "head"}
    assert "no justifications" in found["left_out"]["rationale"]
    assert orjson.loads(Path(found["file"]).read_bytes())["rows"] == found["rows"]
    assert bench_modes(project, "--mode", "scores") == 0
    said = capsysbinary.readouterr().out.decode()
    assert "scores" in said
    assert "expected" not in said


def test_no_mode_that_runs_and_no_such_mode(project: Path) -> None:
    assert bench_modes(project, "--mode", "rationale") == 1
    assert bench_modes(project, "--mode", "none") == 2
    assert main(["bench", "modes", "--project", str(project)]) == 2, "the demo has three groups"


def test_a_mode_without_a_student_is_named_with_the_command_that_trains_it_and_starts_nothing(
    project: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert bench_modes(project, "--mode", "head") == 1
    said = capsysbinary.readouterr().err.decode()
    assert "mira-stream distill --head --group text" in said
    assert "starting" not in said
    assert bench_modes(project, "--mode", "head", "--mode", "scores") == 0
    assert "left out: head" in capsysbinary.readouterr().out.decode()


@pytest.mark.parametrize("command", ["modes", "tune", "engine", "stream", "kafka"])
def test_what_is_missing_is_said_before_anything_is_started(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], command: str
) -> None:
    monkeypatch.setattr(running, "_started", None)
    monkeypatch.setattr(alternating, "DirectBench", None)
    asked = ["bench", command, "--project", str(project), "--group", "text"]
    assert main([*asked, "--out", str(project / "mira.toml")]) == 2
    assert b"out_unwritable" in capsysbinary.readouterr().err
    for path in (project / "corpus").iterdir():
        path.write_bytes(b"")
    assert main(asked) == 1
    assert b"bench_documents" in capsysbinary.readouterr().err
    if command in ("tune", "engine", "stream"):  # modes names it among what it leaves out
        rmtree(project / "students" / "text")
        assert main(asked) == 3
        assert b"student_missing" in capsysbinary.readouterr().err


def test_a_head_that_is_not_there_is_not_missed_while_scores_are_served(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def measure(*_: object) -> None:
        raise UsageError("measured", "it came so far", "no")

    monkeypatch.setattr(running, "measure", measure)
    toml = (project / "mira.toml").read_text()
    (project / "mira.toml").write_text(toml.replace("[groups.text]", '[groups.text]\nmode = "head"', 1))
    assert main(["bench", "engine", "--project", str(project), "--group", "text"]) == 2
    assert b"measured: it came so far" in capsysbinary.readouterr().err


@pytest.mark.parametrize(("more", "name"), [
    (["--p99-ms", "100"], "--p99-ms"), (["--step-s", "30"], "--step-s"), (["--ramp", "--repeat", "2"], "--repeat"),
    (["--rate", "5", "--outstanding", "3"], "--outstanding"), (["--ramp", "--outstanding", "3"], "--outstanding"),
])  # fmt: skip
def test_options_that_a_load_takes_no_notice_of_are_refused(
    project: Path, capsysbinary: pytest.CaptureFixture[bytes], more: list[str], name: str
) -> None:
    for command in ("stream", "engine", "kafka"):
        assert main(["bench", command, "--project", str(project), "--group", "text", *more]) == 2
        assert f"bench_ignored: {name}" in capsysbinary.readouterr().err.decode()


def test_a_ratio_is_taken_within_its_turn() -> None:
    slow, fast = [turn(11), turn(6)], [turn(21), turn(21)]
    rows = rows_of({MODES[0]: slow, MODES[1]: fast}, None)
    assert [row.ratio for row in rows] == pytest.approx([1, (209 / 109 + 209 / 59) / 2])
    assert rows[1].ratio_least == pytest.approx(209 / 109)
    assert [row.gain for row in rows] == [None, None]
    assert [row.ratio_least for row in rows_of({MODES[0]: slow[:1], MODES[1]: fast[:1]}, None)] == [None, None]


@pytest.mark.parametrize(
    "more", [["--rate", "inf"], ["--rate", "1e7"], ["--rate", "nan"], ["--ramp", "--p99-ms", "inf"]]
)
def test_a_load_that_nobody_offers_is_refused(project: Path, more: list[str]) -> None:
    assert main(["bench", "engine", "--project", str(project), "--group", "text", *more]) == 2


@in_virtual_time
async def test_each_side_rests_before_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[tuple[int, float]] = []

    async def taken(bench: DirectBench, load: Load, number: int, *_: object) -> Turn:
        began.append((number, asyncio.get_running_loop().time()))
        await asyncio.sleep(1)
        return turn(10)

    monkeypatch.setattr(alternating, "take", taken)
    engines = alternating.Alternating("text", GIVEN, build, Load(documents=4), lambda line: None, 2, 1.5)
    start = asyncio.get_running_loop().time()
    for name in "abba":
        await engines.turn(name, simulated_project(0))
    await engines.close()
    times = [(number, round(at - start, 2)) for number, at in began]
    assert times == [(0, 0), (1, 2.5), (0, 3.5), (2, 6), (3, 8.5), (4, 11)], "0: a warm-up, behind a start"


async def test_modes_change_places_from_repetition_to_repetition(project: Path) -> None:
    asked: list[str] = []

    class Engines(alternating.Alternating):
        async def turn(self, name: str, project: Project) -> Turn:
            asked.append(name)
            return turn(10)

    engines = Engines("text", [], build, Load(documents=4), lambda line: None)
    await measure_modes(load_project(project), "text", ["scores", "expected"], 4, engines)
    assert asked == ["scores", "expected", "expected", "scores"] * 2


def test_one_repetition_has_no_least_ratio(project: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert bench_modes(project, "--repeat", "1") == 0
    assert "one repetition: its ratio has no least" in capsysbinary.readouterr().out.decode()
