"""The catalog says what the public cards say, and a project for released students loads and does not serve yet."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from mira_stream.catalog import find, load_catalog
from mira_stream.catalog.scaffold import next_commands, project_files
from mira_stream.catalog.students import serve_line
from mira_stream.cli.catalog import table_of
from mira_stream.config import Project, load_project
from mira_stream.errors import ConfigError, UsageError
from mira_stream.messages import SLOTS
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scorecard import check_mode, parse

CATALOG = load_catalog()


def written(root: Path, *names: str, trust: bool = False) -> Project:
    students = [find(CATALOG, name) for name in names]
    for name, data in project_files(students, CATALOG, trust_remote_code=trust).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return load_project(root, environment={})


def test_there_are_twelve_four_of_each_family() -> None:
    names = [student.name for student in CATALOG.students]
    assert names == [f"{family}-{number}" for family in ("text", "qa", "agent") for number in range(1, 5)]
    assert all(student.name.startswith(student.family) for student in CATALOG.students)


def test_the_rubric_of_agent_4_is_the_cards() -> None:
    agent = find(CATALOG, "Agent-4")
    assert agent.slots is not None
    assert tuple(slot.slot for slot in agent.slots) == SLOTS
    sizes = [slot.cluster_size for slot in agent.slots]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == 15 * 29_620
    assert agent.slots[14].name == "Tool Selection (Safety & Scope)"


def test_what_is_not_public_is_null_and_said() -> None:
    for student in CATALOG.students:
        assert {"anchor descriptions and examples", "prompt template"} <= set(student.unknown)
        assert (student.repository is None) == (serve_line(student, CATALOG.serving) is None)
        if student.name != "agent-4":
            assert {"slots", "licence", "repository"} <= set(student.unknown)
    assert "sources (5 of 6 named)" in find(CATALOG, "text-3").unknown
    assert find(CATALOG, "qa-3").prompt_family == "qa_with_think"


def test_the_serve_line_is_the_cards_without_foreign_code() -> None:
    assert serve_line(find(CATALOG, "agent-4"), CATALOG.serving) == (
        "vllm serve whw06/MIRA-Agent-Group4 --tensor-parallel-size 8 --dtype bfloat16 --max-model-len 65536"
        " --max-num-batched-tokens 131072 --gpu-memory-utilization 0.9"
    )


def test_an_unknown_student_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match="agent-4"):
        find(CATALOG, "agent-9")


def test_a_project_has_the_cards_settings(tmp_path: Path) -> None:
    project = written(tmp_path, "agent-4", "qa-1")
    group = project.settings.groups["agent-4"]
    assert (group.tensor_parallel_size, group.dtype, group.gpu_memory_utilization) == (8, "bfloat16", 0.9)
    assert (group.context_tokens_max, group.max_num_batched_tokens, group.reply_tokens_max) == (65_536, 131_072, 2048)
    assert (group.temperature, group.top_p, group.trust_remote_code) == (0.7, 0.95, False)
    assert group.foreign, "a released folder does not say whose it is"
    check_mode(group.layout, group.mode, constrained=group.constrained)
    assert (group.layout, group.mode) == ("interleaved", "rationale")
    assert project.settings.sources_of("agent-4") == ["agent_openhands", "davinc_dev", "swe_qa"]
    assert "SWE repository repair" in project.settings.sources["swe_qa"].description
    assert project.student_path("agent-4") == tmp_path / "students" / "agent-4"


@pytest.mark.parametrize("name", [student.name for student in CATALOG.students])
def test_every_students_project_loads(tmp_path: Path, name: str) -> None:
    assert list(written(tmp_path, name, trust=True).settings.groups) == [name]
    assert load_project(tmp_path, {}).settings.groups[name].trust_remote_code


def test_nothing_is_served_before_template_and_anchors_are_imported(tmp_path: Path) -> None:
    project = written(tmp_path, "agent-4", "qa-3")
    rubric = load_rubric(project.rubric_path("agent-4"))
    folder = project.prompts_path("agent-4")
    with pytest.raises(ConfigError, match=r"prompt_not_imported.*prompt import --group agent-4"):
        load_prompt(folder, rubric)
    (folder / "system.txt").write_text("Scale:\n${calibration}")
    with pytest.raises(ConfigError, match="prompt_not_imported"):
        load_prompt(folder, rubric)
    (folder / "user.txt").write_text("${document}\n${dimensions}")
    with pytest.raises(ConfigError, match=r"rubric_uncalibrated.*rubric import"):
        load_prompt(folder, rubric)
    with pytest.raises(ConfigError, match="rubric_missing"):
        load_rubric(project.rubric_path("qa-3"))


def test_nothing_invented_passes_as_the_authors(tmp_path: Path) -> None:
    rubric = load_rubric(written(tmp_path, "agent-4").rubric_path("agent-4"))
    assert "not public" in rubric.header.created_by
    assert all(anchor.description == "" and anchor.examples == [] for anchor in rubric.anchors)
    assert parse("[A14] Tool Selection: 7/10 — x\n", "interleaved", rubric.names).scores[13] == 7


def test_the_next_commands_quote_the_directory() -> None:
    commands = next_commands([find(CATALOG, "agent-4")], "my dir")
    assert commands[-1] == "mira-stream up --project 'my dir'"


def test_the_list_fits_80_columns_and_breaks_no_word() -> None:
    written = io.StringIO()
    console = Console(width=80, file=written, color_system=None)
    console.print(table_of(CATALOG))
    said = written.getvalue()
    assert max(len(line.rstrip()) for line in said.splitlines()) <= 80
    words = set(said.split())
    for one in CATALOG.students:
        assert {one.name, *(one.domain or "?").split(), one.group or "?"} <= words
    assert "456,412" in words
    assert "\u2026" not in said
