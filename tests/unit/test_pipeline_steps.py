"""What each step of the pipeline depends on: what makes it due, what does not."""

from pathlib import Path
from typing import Any

import pytest

from mira_stream.config import load_project
from mira_stream.pipeline.steps import Pace, Step, method_steps

TOML = """
[groups.text]
family = "text"
[sources.notes]
group = "text"
path = "notes.jsonl"
[teacher]
model = "some-teacher"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mira.toml").write_text(TOML)
    (tmp_path / "notes.jsonl").write_text("{}")
    return tmp_path


def test_how_a_student_is_served_makes_nothing_due(root: Path) -> None:
    def settings(more: str) -> list[dict[str, Any]]:
        family = '[groups.text]\nfamily = "text"\n'
        (root / "mira.toml").write_text(TOML.replace(family, family + more))
        return [one.settings for one in method_steps(load_project(root, {}), "text", Pace())]

    before = settings("")
    assert settings("max_num_seqs = 8\nkv_cache_gib = 4\nrequest_timeout_s = 30.0\nforeign = true\n") == before
    after = settings("document_tokens_max = 64\n")
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False, False]


def test_the_teacher_is_asked_again_by_the_pipeline_too(root: Path) -> None:
    def reliability(more: str = "") -> Step:
        (root / "mira.toml").write_text(TOML + more)
        return method_steps(load_project(root, {}), "text", Pace())[-1]

    usual, more, none = (
        reliability(),
        reliability("[reliability]\nretest = 7\n"),
        reliability("[reliability]\nretest = 0\n"),
    )
    assert "--retest 50" in " ".join(usual.arguments)
    assert "--retest 7" in " ".join(more.arguments)
    assert "--retest" not in none.arguments
    assert usual.settings != more.settings, "another number makes it due"
    assert reliability("temperature = 0.7\n").settings != usual.settings, "so does another temperature"
    assert usual.kept == (root.resolve() / "work/retest-text.journal",), "a changed rubric or prompt makes it void"
    assert set(usual.basis) <= set(usual.inputs)


def test_a_student_of_a_base_model_is_measured_as_it_is_served(root: Path) -> None:
    (root / "distill.toml").write_text('[base]\nmodel = "some/base-35b"\n')
    student = root / "students" / "text"
    student.mkdir(parents=True)
    (student / "model.safetensors.index.json").write_text("{}")
    *_, distill, reliability = method_steps(load_project(root, {}), "text", Pace())
    assert distill.outputs == (student / "config.json", student / "model.safetensors.index.json")
    assert student / "model.safetensors.index.json" in reliability.inputs
    assert "--served" in reliability.arguments


def test_a_group_of_mode_head_has_its_head_trained_behind_its_student(root: Path) -> None:
    def steps(more: str) -> list[Step]:
        family = '[groups.text]\nfamily = "text"\n'
        (root / "mira.toml").write_text(TOML.replace(family, family + more))
        return method_steps(load_project(root, {}), "text", Pace())

    usual, with_head = steps(""), steps('mode = "head"\n')
    assert [one.name for one in with_head] == [
        "discover text", "label text", "distill text", "distill text head", "reliability text",
    ]  # fmt: skip
    assert [one.settings for one in with_head[:3]] == [one.settings for one in usual[:3]], "nothing before it is due"
    head, reliability = with_head[3:]
    students = root.resolve() / "students"
    assert "--head" in head.arguments
    assert students / "text" / "model.safetensors" in head.inputs
    assert head.outputs == (students / "text.head" / "config.json", students / "text.head" / "model.safetensors")
    assert students / "text.head" / "model.safetensors" in reliability.inputs
