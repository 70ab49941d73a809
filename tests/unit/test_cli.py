"""The command line: what it lists, how errors end it, what it refuses before it does anything."""

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import typer
from msgspec.structs import replace
from rich.text import Text

from mira_stream import __version__
from mira_stream.cli import main as cli
from mira_stream.cli.connect import address
from mira_stream.cli.demo import own_corpora
from mira_stream.cli.services import chosen_groups
from mira_stream.config import Project, Settings
from mira_stream.errors import (
    CheckFailed,
    ConfigError,
    DataLossError,
    DependencyError,
    MiraError,
    StageStopped,
    UsageError,
)
from mira_stream.sections import GroupSection, SourceSection


@pytest.fixture
def project(tmp_path: Path) -> Project:
    groups = {"text": GroupSection(family="text"), "qa": GroupSection(family="qa")}
    return Project(tmp_path, Settings(groups=groups, sources={"stdlib": SourceSection(group="text")}))


def ends_with(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, debugs: bool = False) -> int:
    def command() -> None:
        raise error

    from mira_stream.cli import version

    monkeypatch.setattr(version, "version", command)
    monkeypatch.setenv("MIRA_DEBUG", "1" if debugs else "0")
    return cli.main(["version"])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (CheckFailed, 1),
        (UsageError, 2),
        (ConfigError, 3),
        (DependencyError, 4),
        (StageStopped, 4),
        (DataLossError, 5),
        (MiraError, 70),
    ],
)
def test_every_error_has_its_exit_code_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kind: type[MiraError], code: int
) -> None:
    assert ends_with(monkeypatch, kind("some_code", "what [happened]", "what to do")) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert "some_code" in err
    assert "what to do" in err
    assert "Traceback" not in err


def test_an_error_inside_a_task_group_is_still_that_error(monkeypatch: pytest.MonkeyPatch) -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [ConfigError("c", "cause", "fix")])])
    assert ends_with(monkeypatch, group) == 3


def test_a_bug_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert ends_with(monkeypatch, RuntimeError("boom")) == 70
    err = capfd.readouterr().err
    assert "boom" in err
    assert "MIRA_DEBUG=1" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("error", "code"), [(RuntimeError("boom"), 70), (ConfigError("c", "boom", "mend it"), 3)])
def test_debug_shows_the_traceback_and_ends_with_the_same_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    assert ends_with(monkeypatch, error, debugs=True) == code
    err = capfd.readouterr().err
    assert err.startswith("Traceback")
    said = err.splitlines()[-2:]
    assert "boom" in said[0]
    assert said[1].startswith("  do: ")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_interrupted_command_ends_with_130(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    assert ends_with(monkeypatch, error) == 130


@pytest.mark.parametrize("arguments", [["nothing-like-this"], ["version", "--nope"], []])
def test_usage_errors_end_with_2(arguments: list[str]) -> None:
    assert cli.main(arguments) == 2


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f" {name} " in shown


@pytest.mark.parametrize("name", [name for name, entry in cli.COMMANDS.items() if entry.attribute != "app"])
def test_every_command_has_help_and_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_version_as_an_option(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capfd.readouterr().out == f"mira-stream {__version__}\n"


def test_version_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version", "--json"]) == 0
    found = orjson.loads(capfd.readouterr().out)
    assert found["mira-stream"]
    assert found["python"].count(".") == 2


def test_nothing_heavy_is_imported_to_show_help() -> None:
    code = (
        "import sys; from mira_stream.cli.main import main; main(['--help']);"
        "heavy = {'vllm', 'torch', 'transformers', 'aiokafka', 'pyarrow', 'numpy', 'matplotlib', 'openai'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_missing_project_is_a_configuration_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "--project", str(tmp_path)]) == 3
    assert "project_missing" in capfd.readouterr().err


def test_unknown_group_is_refused(project: Project) -> None:
    assert chosen_groups(project, None) == ["qa", "text"]
    assert chosen_groups(project, ["text", "text"]) == ["text"]
    with pytest.raises(UsageError, match="group_unknown"):
        chosen_groups(project, ["agent"])


def test_address_is_asked_in_order(project: Project) -> None:
    assert address(project, "kafka:9092") == "kafka:9092"
    with pytest.raises(DependencyError, match="mira-stream broker start") as caught:
        address(project)
    assert caught.value.code == "broker_not_running"
    with pytest.raises(DependencyError, match="no embedded broker runs") as caught:
        address(replace(project, shadow="bolder"))
    assert "broker start" not in caught.value.fix, "it would be a second, empty Kafka"
    assert "broker status --project LIVE" in caught.value.fix


def test_own_corpora_need_a_group_each(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.jsonl").touch()
    first, second = f"one={tmp_path}/a.jsonl", f"two={tmp_path}/b.jsonl"
    assert [(corpus.name, corpus.group) for corpus in own_corpora([first, second], ["text", "qa"])] == [
        ("one", "text"),
        ("two", "qa"),
    ]
    assert [corpus.group for corpus in own_corpora([first, second], ["qa"])] == ["qa", "qa"]
    with pytest.raises(UsageError, match="group_missing"):
        own_corpora([first], [])
    with pytest.raises(UsageError, match="group_missing"):
        own_corpora([first], ["text", "qa"])


@pytest.mark.parametrize("text", ["nameless", "=path", "two words=path", "../up=path"])
def test_wrong_corpus_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="corpus_invalid"):
        own_corpora([text], ["text"])


def test_missing_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="corpus_missing"):
        own_corpora([f"one={tmp_path}/nothing"], ["text"])


def test_teacher_and_model_go_together(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--teacher", "http://127.0.0.1:1/v1", "--out", str(tmp_path / "out")]) == 2
    assert "teacher_incomplete" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def help_texts() -> Iterator[tuple[str, str]]:
    """Every command's and option's help, as it is written."""
    for name, entry in cli.COMMANDS.items():
        found = getattr(importlib.import_module(f"mira_stream.cli.{entry.module}"), entry.attribute)
        if not isinstance(found, typer.Typer):
            app = typer.Typer()
            app.command(name)(found)
            found = app
        waiting = [(name, typer.main.get_command(found))]
        while waiting:
            of, command = waiting.pop()
            yield of, command.help or ""
            for parameter in command.params:
                yield f"{of} {parameter.name}", str(getattr(parameter, "help", None) or "")
            waiting += [(f"{of} {sub}", one) for sub, one in getattr(command, "commands", {}).items()]


def test_no_word_of_any_help_is_lost_to_markup() -> None:
    texts = dict(help_texts())
    assert len(texts) > 100
    assert "[labels]" in Text.from_markup(texts["label"]).plain
    lost = {of for of, text in texts.items() if Text.from_markup(text).plain != text.replace("\\[", "[")}
    assert not lost
