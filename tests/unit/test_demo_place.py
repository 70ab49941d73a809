"""The demo's folder: what it takes, what it refuses, what it copies."""

import os
from pathlib import Path

import pytest

from mira_stream.config import load_project
from mira_stream.demo.place import MARKER, claim, clear, copy_project
from mira_stream.errors import ConfigError, UsageError

TOML = """
[broker]
bootstrap_servers = "kafka.example:9093"
security_protocol = "SASL_SSL"
sasl_username = "me"

[groups.text]
family = "text"

[groups.qa]
family = "qa"
student = "../elsewhere"

[sources.stdlib]
group = "text"
path = "corpus/stdlib.jsonl"
retention = 0.4

[sources.mine]
group = "text"
path = "data/mine.jsonl"
text = "body"
"""


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    root = tmp_path / "origin"
    for folder in ("rubrics", "prompts/text", "students/text"):
        (root / folder).mkdir(parents=True)
    (root / "mira.toml").write_text(TOML)
    (root / "rubrics" / "text.jsonl").write_text("rubric")
    (root / "students" / "text" / "config.json").write_text("{}")
    return root


def test_a_new_and_an_empty_folder_are_taken(tmp_path: Path) -> None:
    with claim(tmp_path / "new" / "out"):
        assert (tmp_path / "new" / "out" / MARKER).exists()
    (tmp_path / "empty").mkdir()
    with claim(tmp_path / "empty"):
        pass


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="out_foreign"), claim(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="out_foreign"), claim(tmp_path / "out"):
        pass


def test_two_demos_never_share_a_folder(tmp_path: Path) -> None:
    with claim(tmp_path / "out"), pytest.raises(UsageError, match="out_in_use"), claim(tmp_path / "out"):
        pass
    with claim(tmp_path / "out"):
        pass


def test_an_older_demo_is_cleared_but_not_what_it_links_to(tmp_path: Path, origin: Path) -> None:
    out = tmp_path / "out"
    with claim(out):
        copy_project(origin, out / "project", {}, ["stdlib"])
        clear(out)
    assert [path.name for path in out.iterdir()] == [MARKER]
    assert (origin / "students" / "text" / "config.json").exists()


def test_the_copy_has_its_own_broker_and_its_own_made_corpus(tmp_path: Path, origin: Path) -> None:
    copy = tmp_path / "out" / "project"
    own = {
        "extra": {"group": "qa", "path": "/data/extra.jsonl"},
        "mine": {"group": "text", "path": "/data/other.jsonl"},
    }
    copy_project(origin, copy, own, ["stdlib"])
    settings = load_project(copy, {}).settings
    assert (settings.broker.bootstrap_servers, settings.broker.data_dir) == ("embedded", "broker")
    assert settings.broker.security_protocol == "PLAINTEXT"
    assert settings.sources["stdlib"].path == "corpus/stdlib.jsonl"
    assert settings.sources["stdlib"].retention == 0.4
    assert settings.sources["extra"].group == "qa"
    assert (settings.sources["mine"].path, settings.sources["mine"].text) == ("/data/other.jsonl", "body")
    assert Path(settings.groups["qa"].student).resolve() == (origin / "../elsewhere").resolve()
    assert (copy / "rubrics" / "text.jsonl").read_text() == "rubric"
    assert (copy / "students" / "text" / "config.json").exists()
    assert os.path.islink(copy / "students")


def test_paths_of_the_project_still_lead_to_its_files(tmp_path: Path, origin: Path) -> None:
    copy = tmp_path / "copy"
    copy_project(origin, copy, {}, ["stdlib"])
    project = load_project(copy, {})
    assert project.path(project.settings.sources["mine"].path) == origin / "data" / "mine.jsonl"


@pytest.mark.parametrize(
    ("student", "place"),
    [
        ("models/x", "origin/models/x"),
        ("./models/x", "origin/models/x"),
        ("students/../models/x", "origin/models/x"),
        ("../elsewhere", "elsewhere"),
        ("students/text", "copy/students/text"),
        ("./students/text", "copy/students/text"),
        ("", "copy/students/qa"),
    ],
)
def test_a_student_is_found_from_the_copy(tmp_path: Path, origin: Path, student: str, place: str) -> None:
    (origin / "mira.toml").write_text(TOML.replace("../elsewhere", student))
    copy_project(origin, tmp_path / "copy", {}, [])
    found = load_project(tmp_path / "copy", {}).student_path("qa")
    assert Path(os.path.normpath(found)) == tmp_path / place


def test_a_student_elsewhere_stays_there(tmp_path: Path, origin: Path) -> None:
    (origin / "mira.toml").write_text(TOML.replace("../elsewhere", "/models/x"))
    copy_project(origin, tmp_path / "copy", {}, [])
    assert load_project(tmp_path / "copy", {}).student_path("qa") == Path("/models/x")


def test_a_folder_without_project_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="project_missing"):
        copy_project(tmp_path, tmp_path / "copy", {}, [])
    (tmp_path / "mira.toml").write_text("[broken")
    with pytest.raises(ConfigError, match="project_invalid"):
        copy_project(tmp_path, tmp_path / "copy", {}, [])
