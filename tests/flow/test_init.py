"""`init`, `prompt` and `catalog` as they are used: real files, real commands, no engine."""

import importlib
import shlex
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer

from mira_stream.catalog import find, load_catalog
from mira_stream.cli.main import COMMANDS, app, main
from mira_stream.cli.scaffold import DEMO_RETENTION
from mira_stream.config import load_project
from mira_stream.demo.corpora import SOURCES
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIRA_PROJECT", raising=False)


class Run:
    """Runs commands and keeps what they print."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd
        self.err = ""

    def __call__(self, line: str, code: int = 0) -> Any:
        self.capfd.readouterr()
        found = main(shlex.split(line))
        out, self.err = self.capfd.readouterr()
        assert found == code, self.err
        return orjson.loads(out) if out.startswith("{") else out


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return Run(capfd)


def parses(line: str) -> None:
    """The command is there, and takes these arguments."""
    program, *arguments = shlex.split(line)
    if program == "hf":
        assert arguments[0] == "download"
        return
    assert program == "mira-stream"
    assert arguments[0] in COMMANDS
    entry = COMMANDS[arguments[0]]
    assert hasattr(importlib.import_module(f"mira_stream.cli.{entry.module}"), entry.attribute)
    context = typer.main.get_command(app).make_context("mira-stream", list(arguments))
    while getattr(context, "_protected_args", None):
        remaining = [*context._protected_args, *context.args]
        child = context.command.get_command(context, remaining[0])  # type: ignore[attr-defined]
        assert child is not None, f"no such command: {remaining[0]}"
        context = child.make_context(remaining[0], remaining[1:], parent=context)


def jsonl(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))


def own_files(root: Path) -> None:
    jsonl(root / "data" / "pairs.jsonl", {"prompt": "a", "response": "b", "uuid": "1"})
    jsonl(root / "data" / "traces.jsonl", {"messages": [{"role": "user", "content": "a"}]})
    (root / "pages").mkdir()
    (root / "pages" / "one.md").write_text("# One")
    (root / "pages" / "two.md").write_text("# Two")


def test_a_project_of_ones_own_files(tmp_path: Path, run: Run) -> None:
    own_files(tmp_path)
    given = run("init . data/pairs.jsonl data/traces.jsonl web=pages --json")
    assert given["sources"]["pairs"] == {
        "family": "qa",
        "columns": {"question": "prompt", "answer": "response", "id": "uuid"},
    }
    settings = load_project(tmp_path, {}).settings
    assert {name: settings.family_of(name) for name in settings.sources} == {
        "pairs": "qa",
        "traces": "agent",
        "web": "text",
    }
    assert "teacher: featurejudge, a stand-in" in run.err
    assert settings.sources["web"].path == "pages"
    assert settings.groups == {}
    for command in given["next"]:
        parses(command)


def test_files_outside_are_named_absolutely(tmp_path: Path, run: Run) -> None:
    own_files(tmp_path)
    run("init mine data/pairs.jsonl")
    assert load_project(tmp_path / "mine", {}).settings.sources["pairs"].path == str(tmp_path / "data" / "pairs.jsonl")


def test_doubt_is_asked_for_and_answered(tmp_path: Path, run: Run) -> None:
    jsonl(tmp_path / "x.jsonl", {"text": "a", "body": "b", "messages": [{"role": "user", "content": "a"}]})
    run("init mine x.jsonl", 2)
    assert "--family" in run.err
    assert not (tmp_path / "mine").exists()
    run("init mine x.jsonl --family x=text --map x:text=body")
    section = load_project(tmp_path / "mine", {}).settings.sources["x"]
    assert (section.family, section.text) == ("text", "body")


@pytest.mark.parametrize(
    "line",
    [
        "init mine",
        "init mine data/pairs.jsonl --demo",
        "init mine data/pairs.jsonl data/pairs.jsonl",
        "init mine data/pairs.jsonl --family poem",
        "init mine data/pairs.jsonl --family other=qa",
        "init mine data/pairs.jsonl --map colour=red",
        "init mine --catalog agent-9",
        "init mine bad/name=data/pairs.jsonl",
    ],
)
def test_what_makes_no_project_is_a_usage_error(tmp_path: Path, run: Run, line: str) -> None:
    own_files(tmp_path)
    run(line, 2)
    assert "do:" in run.err
    assert not (tmp_path / "mine").exists()


def test_nothing_is_ever_replaced(tmp_path: Path, run: Run) -> None:
    own_files(tmp_path)
    (tmp_path / "mira.toml").write_text("# mine")
    for line in ("init . data/pairs.jsonl", "init . --catalog agent-4", "init . --demo"):
        run(line, 2)
    assert (tmp_path / "mira.toml").read_text() == "# mine"
    assert not (tmp_path / "prompts").exists()


def test_the_demos_sources(tmp_path: Path, run: Run) -> None:
    given = run("init demo --demo --json")
    settings = load_project(tmp_path / "demo", {}).settings
    assert {source.name: source.group for source in SOURCES} == {
        name: settings.family_of(name) for name in settings.sources
    }
    shipped = load_project(REPOSITORY / "mira_stream" / "demo" / "project", {}).settings.sources
    assert {name: section.retention for name, section in settings.sources.items()} == DEMO_RETENTION
    assert {name: section.retention for name, section in shipped.items()} == DEMO_RETENTION
    assert settings.grouping.defaults["document_tokens_max"] == 448
    assert (settings.discovery.documents, settings.discovery.examples) == (1200, 2)
    for command in given["next"]:
        parses(command)


def anchors() -> list[dict[str, Any]]:
    """An anchor file of agent-4 under other field names; the examples are made up here."""
    slots = find(load_catalog(), "agent-4").slots or []
    return [
        {"dim": one.name, "size": one.cluster_size, "examples": [{"rating": 8, "justification": f"because {one.slot}"}]}
        for one in slots
    ]


def test_a_released_student_from_init_to_prompt(tmp_path: Path, run: Run) -> None:
    given = run("init mine --catalog agent-4 --json")
    for command in given["next"]:
        parses(command)
    run("prompt show -g agent-4 --project mine", 3)
    assert "prompt_not_imported" in run.err
    Path("system.txt").write_text("Scale {today}:\n{calibration}")
    Path("user.txt").write_text("{record}\n{dimensions}")
    run("prompt import -g agent-4 --system system.txt --user user.txt --project mine", 2)
    assert "today -> ?" in run.err
    whole = "mira-stream prompt import --group agent-4 --project mine --system system.txt --user user.txt --map today="
    assert whole in run.err, "the way out is a whole command"
    found = run(
        "prompt import -g agent-4 --system system.txt --user user.txt --map today=literal --project mine --json"
    )
    assert found["mapping"]["record"] == "document"
    run("prompt show -g agent-4 --project mine", 3)
    assert "rubric_uncalibrated" in run.err
    jsonl(Path("anchors.jsonl"), *anchors())
    jsonl(Path("other.jsonl"), *anchors()[:14], anchors()[14] | {"dim": "Brevity"})
    run("rubric import other.jsonl -g agent-4 --project mine", 2)
    assert "A15: 'Brevity' for 'Tool Selection (Safety & Scope)'" in run.err
    assert "mira-stream rubric import other.jsonl --group agent-4 --project mine --force" in run.err
    told = run("rubric import anchors.jsonl -g agent-4 --project mine --json")
    jsonl(Path("renamed.jsonl"), *anchors())
    assert run("rubric import renamed.jsonl -g agent-4 --project mine --force --json")["rubric"] == told["rubric"]
    project = load_project(tmp_path / "mine", {})
    rubric = load_rubric(project.rubric_path("agent-4"))
    assert (told["rubric"], rubric.header.teacher) == (rubric.version, "Kimi-K2.6")
    jsonl(Path("one.jsonl"), {"messages": [{"role": "user", "content": "fix it"}]})
    shown = run("prompt show -g agent-4 --document one.jsonl --project mine --json")
    prompt = load_prompt(project.prompts_path("agent-4"), rubric)
    assert shown["messages"] == prompt.messages("### user\nfix it")
    assert "Scale {today}:\n[A1] 8: because A1" in shown["messages"][0]["content"]
    for line in (
        "prompt import -g agent-4 --system system.txt --user user.txt --map today=literal --project mine",
        "rubric import anchors.jsonl -g agent-4 --project mine",
    ):
        run(line, 2)
        assert "file_in_use" in run.err
        assert "--group agent-4" in run.err
        run(f"{line} --force")


def test_documents_are_shown_by_id(tmp_path: Path, run: Run) -> None:
    project = REPOSITORY / "mira_stream" / "demo" / "project"
    whole = run(f"prompt show -g qa --project {project} --json")
    assert "${document}" in whole["messages"][1]["content"]
    jsonl(Path("q.jsonl"), {"id": "q1", "question": "why?", "answer": "so"})
    shown = run(f"prompt show -g qa --project {project} --document q.jsonl --json")
    assert "why?" in shown["messages"][1]["content"]
    assert shown["view"].startswith("whole")
    run(f"prompt show -g qa --project {project} --document nowhere", 2)
    assert "document_unknown" in run.err
    jsonl(Path("bad.jsonl"), {"id": "q2", "question": "why?", "answer": "so"}, {"id": "q3"})
    run(f"prompt show -g text --project {project} --document bad.jsonl", 2)
    assert "document_unknown" in run.err
    jsonl(Path("odd.jsonl"), {"messages": [{"role": "wizard", "content": "abracadabra"}]})
    run(f"prompt show -g agent --project {project} --document odd.jsonl", 2)
    assert "document_unfit" in run.err
    run(f"prompt show -g poems --project {project}", 2)


def test_one_template_makes_one_message(tmp_path: Path, run: Run) -> None:
    run("init mine --catalog agent-4")
    Path("all.txt").write_text("Scale\n{{ document }}")
    run("prompt import -g agent-4 --template all.txt --project mine")
    assert "no placeholder is calibration" in run.err
    assert "no placeholder is dimensions" in run.err
    assert "mira-stream prompt show --group agent-4 --project mine\n" in run.err
    assert [message["role"] for message in run("prompt show -g agent-4 --project mine --json")["messages"]] == ["user"]
    run("prompt import -g agent-4 --system all.txt --project mine", 2)
    assert "prompt_files" in run.err


def test_the_catalog_is_listed_and_shown(run: Run) -> None:
    assert len(run("catalog --json")["students"]) == 12
    assert "agent-4" in run.err
    shown = run("catalog agent-4 --json")
    assert shown["serve"].startswith("vllm serve whw06/MIRA-Agent-Group4 ")
    assert "Tool Selection (Safety & Scope) (16,168)" in run.err
    assert run("catalog text-2 --json")["serve"] is None
    assert "not known" in run.err
    run("catalog nobody", 2)
