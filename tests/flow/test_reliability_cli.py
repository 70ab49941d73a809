"""`mira-stream reliability` on a project whose labels are there: what it writes, keeps, refuses."""

import re
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import orjson
import pytest

from mira_stream.cli import measuring, served
from mira_stream.cli.main import main
from mira_stream.cli.served import ask_served
from mira_stream.config import load_project
from mira_stream.errors import DependencyError, EngineError
from mira_stream.messages import SLOTS
from mira_stream.parquet import read_columns, read_metadata
from mira_stream.prompt import load_prompt
from mira_stream.reliability.measure import MEASURED_SCHEMA, Measured
from mira_stream.reliability.table import load_table, save_table
from mira_stream.scoring.engine import Request
from mira_stream.scoring.judge import Judge
from mira_stream.scoring.lineage import lineage
from mira_stream.testing.engine import ScriptedEngine, hashed_answer, scores_of
from tests.flow.reliability_project import (
    DEMO,
    TOML,
    labels,
    make_project,
    rubric,
    run,
    said,
    table_of,
    write_labels,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


def test_table_labels_and_report_are_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labels(root, [*labels(120), *labels(30, "distill")])
    assert run(root, "--labels", str(path), "--json") == 0
    result = said(capsys)
    project, table = load_project(root, {}), table_of(root)
    mode = table.modes["scores"]
    assert mode.lineage == lineage(project, "text")
    assert {name: source.n for name, source in mode.sources.items()} == {"*": 120, "letters": 12, "notes": 108}
    assert mode.sources["*"].clusters == 60
    assert mode.sources["letters"].aggregate.target == 0.25
    assert result["documents"] == 120
    assert result["reliable"]["notes"] == list(mode.sources["notes"].reliable)
    assert set(result["warnings"]) == {"*", "letters", "notes"}
    measured = read_columns(project.labels_path("text"))
    assert list(measured) == list(MEASURED_SCHEMA)
    assert measured["cluster"][:3] == ["heldout-0", "heldout-0", "heldout-2"]
    assert read_metadata(project.labels_path("text"))["rubric"] == table.rubric
    page = Path(result["report"]).read_text()
    assert "featurejudge" in page
    assert table.retest is None


def test_labels_that_stand_in_the_projects_own_file_are_kept(root: Path) -> None:
    rows = [*labels(40), *labels(20, "distill")]
    path = write_labels(root, rows, "labels/text.parquet")
    for _ in range(2):  # the second time over its own output
        assert run(root) == 0
        table = read_columns(path)
        assert table["view"] == [row.view for row in rows]
        assert [scores is None for scores in table["student_scores"]] == [False] * 40 + [True] * 20
        assert read_metadata(path)["teacher"] == "featurejudge"
    assert table_of(root).modes["scores"].sources["*"].n == 40


def test_labels_with_their_views_are_never_put_aside(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paid = write_labels(root, labels(30), "labels/text.parquet")
    before = paid.read_bytes()
    other = write_labels(root, labels(40))
    assert run(root, "--labels", str(other)) == 3
    assert "labels_in_the_way" in capsys.readouterr().err
    assert paid.read_bytes() == before


def test_the_teacher_is_asked_again_and_paid_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labels(root, labels(60))
    assert run(root, "--labels", str(path), "--retest", "20", "--json") == 0
    captured = capsys.readouterr()
    assert orjson.loads(captured.out)["retested"] == 20
    assert "warning: the teacher's ceiling is trivially 1: 20 of 20 second answers are the first ones" in captured.err
    assert "At temperature 0 a teacher repeats itself" in Path(orjson.loads(captured.out)["report"]).read_text()
    retest = table_of(root).retest
    assert retest is not None
    assert (retest.teacher, retest.n, retest.unanswered) == ("featurejudge", 20, 0)
    assert {cell.mae for cell in retest.dimensions.values()} == {0}  # measured features repeat exactly
    journal = (root / "work" / "retest-text.journal").read_bytes()
    assert run(root, "--labels", str(path), "--retest", "20") == 0
    assert "0 answers asked for, 20 from the journal" in capsys.readouterr().err.replace("\n", " ")
    assert (root / "work" / "retest-text.journal").read_bytes() == journal
    assert run(root, "--labels", str(path)) == 0
    assert table_of(root).retest == retest
    assert retest.note.startswith("trivially 1")
    with_a_student_of_no_prompt(root)
    user = root / "prompts/text/user.txt"
    user.write_text(f"Be strict.\n{user.read_text()}")
    assert run(root, "--labels", str(write_labels(root, labels(60)))) == 0
    assert table_of(root).retest is None, "it was asked otherwise"


def with_a_student_of_no_prompt(root: Path) -> None:
    """The group's student becomes one that does not say with which prompt it was trained."""
    student = root / "untold"
    copytree(DEMO / "students" / "text", student)
    config = orjson.loads((student / "config.json").read_bytes())
    del config["mira"]["prompt"]
    (student / "config.json").write_bytes(orjson.dumps(config))
    (root / "mira.toml").write_text(TOML.replace(str(DEMO / "students" / "text"), str(student)))


def test_a_retest_is_asked_at_the_temperature_of_the_labels(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labels(root, labels(10), temperature="0.7")
    assert run(root, "--labels", str(path), "--retest", "5") == 3
    assert "teacher_mismatch: the labels were asked for at temperature 0.7, [teacher] says 0" in capsys.readouterr().err
    (root / "mira.toml").write_text(f"{TOML}[teacher]\ntemperature = 0.7\n")
    assert run(root, "--labels", str(path), "--retest", "5") == 0
    retest = table_of(root).retest
    assert retest is not None
    assert retest.temperature == 0.7
    assert "a stand-in that measures features" in retest.note


def test_a_budget_that_a_retest_would_pass_says_how_to_go_on_without(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_labels(root, labels(10))
    assert run(root, "--labels", str(path), "--retest", "5", "--max-tokens", "1000") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "budget_reached" in said
    assert "of the pipeline [reliability] retest = 0" in said
    (tokens,) = re.findall("5 questions to ask, .* and ([0-9,]+) generation tokens", said)
    assert int(tokens.replace(",", "")) < 5 * 200, "replies of the group's layout, as `label` expects them"


@pytest.mark.parametrize("group", ["agent", "qa", "text"])
def test_the_shipped_tables_say_that_their_stand_ins_ceiling_says_nothing(group: str) -> None:
    retest = load_table(DEMO / "reliability" / f"{group}.json").retest
    assert retest is not None
    assert (retest.teacher, retest.n, retest.unanswered, retest.temperature) == ("featurejudge", 50, 0, 0.0)
    assert {(cell.rho, cell.mae) for cell in retest.dimensions.values()} == {(1.0, 0.0)}
    assert retest.note.startswith("trivially 1: 50 of 50 second answers are the first ones")


def test_a_retest_needs_the_teacher_of_the_labels(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labels(root, labels(10), teacher="kimi")
    assert run(root, "--labels", str(path), "--retest", "5") == 3
    assert "teacher_mismatch" in capsys.readouterr().err
    assert not load_project(root, {}).reliability_path("text").exists()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_documents_is_measured_and_decides_nothing(root: Path, count: int) -> None:
    assert run(root, "--labels", str(write_labels(root, labels(count)))) == 0
    mode = table_of(root).modes["scores"]
    assert {cell.verdict for cell in mode.sources["*"].dimensions.values()} == {"undecided"}
    assert mode.sources["*"].warnings[0].startswith("undecided:")


@pytest.mark.parametrize("what", ["rubric", "prompt"])
def test_labels_of_another_rubric_or_prompt_are_refused(
    root: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    path = write_labels(root, labels(10), **{what: "f" * 12})
    assert run(root, "--labels", str(path)) == 3
    assert f"{what}_mismatch" in capsys.readouterr().err


def test_a_student_of_another_group_rubric_or_mode_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "mira.toml").write_text(TOML.replace("students/text", "students/qa"))
    assert run(root, "--labels", str(write_labels(root, labels(10)))) == 3
    assert "student_group" in capsys.readouterr().err
    (root / "mira.toml").write_text(TOML.replace('family = "text"', 'family = "text"\nmode = "rationale"'))
    assert run(root, "--labels", str(write_labels(root, labels(10)))) == 3
    assert "student_mode" in capsys.readouterr().err
    (root / "mira.toml").write_text(TOML)
    edited = root / "rubrics" / "text.jsonl"
    edited.write_bytes(edited.read_bytes().replace(b"rubric discover", b"rubric discovered", 1))
    assert run(root, "--labels", str(write_labels(root, labels(10)))) == 3
    assert "student_rubric" in capsys.readouterr().err


def test_what_cannot_be_measured_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root) == 3
    assert "parquet_missing" in capsys.readouterr().err
    assert run(root, "--labels", str(write_labels(root, labels(10, "distill")))) == 3
    assert "labels_missing" in capsys.readouterr().err
    short = [*labels(3)]
    short[1].scores.pop()
    assert run(root, "--labels", str(write_labels(root, short))) == 3
    assert "labels_invalid" in capsys.readouterr().err
    wild = [*labels(3)]
    wild[1].scores[3] = float("nan")
    assert run(root, "--labels", str(write_labels(root, wild))) == 3
    assert "labels_invalid" in capsys.readouterr().err
    assert run(root, "--labels", str(write_labels(root, labels(10)))) == 0
    assert run(root) == 3  # what it wrote has no views
    assert "labels_without_views" in capsys.readouterr().err
    (root / "work").mkdir()
    write_labels(root, labels(10)).rename(root / "work/labels-text.parquet")
    assert run(root) == 0  # where the pipeline keeps them
    assert main(["reliability", "--project", str(root)]) == 2
    assert "group_missing" in capsys.readouterr().err
    assert main(["reliability", "--project", str(root), "--group", "prose"]) == 2
    assert "group_unknown" in capsys.readouterr().err


def test_a_table_that_cannot_be_read_is_written_anew(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labels(root, labels(30))
    table = load_project(root, {}).reliability_path("text")
    table.parent.mkdir()
    table.write_bytes(b"{")
    assert run(root, "--labels", str(path)) == 0
    assert "written anew" in capsys.readouterr().err
    save_table(table, table_of(root))


async def test_a_served_student_is_asked_as_the_scorer_asks_it(root: Path) -> None:
    rows = labels(30)
    project = load_project(root, {})
    broken = {rows[4].view, rows[9].view}

    def answer(request: Request) -> str:
        text = request.messages[-1]["content"]
        return "nonsense" if any(view in text for view in broken) else hashed_answer(request)

    engine = ScriptedEngine(answer)
    found = await ask_served(project, "text", rubric(root), rows, engine)
    assert [row.id for row in found] == [row.id for i, row in enumerate(rows) if i not in (4, 9)]
    prompt = load_prompt(project.prompts_path("text"), rubric(root))
    assert found[0].student_scores == scores_of(prompt.messages(rows[0].view)[-1]["content"])
    assert (engine.starts, engine.stops) == (1, 1)
    seeds = {request.seed for request in engine.requests if request.request_id.startswith("reliability-")}
    assert len(seeds) >= 30


async def test_a_served_student_in_mode_expected_is_measured_by_what_is_expected(root: Path) -> None:
    (root / "mira.toml").write_text(TOML.replace('family = "text"', 'family = "text"\nmode = "expected"'))
    engine = ScriptedEngine(lambda request: "\n".join(f"[{slot}] 6/10" for slot in SLOTS))
    engine.others = lambda token: {" 9": 0.5} if token == " 6" else {}
    found = await ask_served(load_project(root, {}), "text", rubric(root), labels(3), engine)
    assert [row.student_scores for row in found] == [[7.5] * 15] * 3


async def test_an_engine_that_stays_away_ends_the_measurement(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "Judge", partial(Judge, pauses_s=()))

    def answer(request: Request) -> str:
        if request.request_id.startswith("reliability-"):
            raise EngineError("gone", retriable=True)
        return hashed_answer(request)

    engine = ScriptedEngine(answer)
    with pytest.raises(DependencyError, match="engine_down"):
        await ask_served(load_project(root, {}), "text", rubric(root), labels(3), engine)
    assert engine.stops == 1


def test_replies_that_lack_scores_are_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measuring.ask_student

    def most(*arguments: Any) -> list[Measured]:
        return whole(*arguments)[3:]

    monkeypatch.setattr(measuring, "ask_student", most)
    rows = labels(40)
    path = write_labels(root, rows, "labels/text.parquet")
    assert run(root) == 0
    assert "unread: 3 of 40 replies lacked scores and are not measured" in (
        table_of(root).modes["scores"].sources["*"].warnings
    )
    assert [scores is None for scores in read_columns(path)["student_scores"]] == [True] * 3 + [False] * 37
    monkeypatch.setattr(measuring, "ask_student", lambda *arguments: [])
    assert run(root) == 1


def test_watch_is_its_sub_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reliability", "watch", "--help"]) == 0
    assert "--share" in capsys.readouterr().out
    assert main(["reliability", "--help"]) == 0
    assert "watch" in capsys.readouterr().out
