"""The anchored prompt: literal templates, each name filled in once, the document untouched."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.errors import ConfigError
from mira_stream.messages import DIMENSIONS
from mira_stream.prompt import NOT_IMPORTED, Prompt, load_prompt
from mira_stream.rubric.anchors import Anchor, Example, Part, Rubric, RubricHeader, load_rubric
from mira_stream.scorecard import Reply, parse, write

RUBRIC = Rubric(
    RubricHeader(group="text", teacher="featurejudge", created_by="test"),
    tuple(
        Anchor(slot=f"A{n}", name=f"Name {n}", description="", examples=[Example(score=n / 2, reason=f"because {n}")])
        for n in range(1, 16)
    ),
    "0" * 12,
)


def templates(folder: Path, system: str, user: str) -> Path:
    (folder / "system.txt").write_text(system, encoding="utf-8")
    (folder / "user.txt").write_text(user, encoding="utf-8")
    return folder


def test_the_top_twelve_anchors_calibrate_and_all_are_named(tmp_path: Path) -> None:
    prompt = load_prompt(
        templates(tmp_path, "Scale:\n${calibration}", "Judge:\n${dimensions}\n\n${document}\n"), RUBRIC
    )
    assert "[A12] 6: because 12" in prompt.system
    assert "A13" not in prompt.system
    assert "[A15] Name 15" in prompt.user("view")
    assert prompt.user("view").endswith("\n\nview\n")


def test_nothing_else_is_interpreted(tmp_path: Path) -> None:
    prompt = load_prompt(templates(tmp_path, "$x {y} %s ${z}", "${dimensions} ${document}"), RUBRIC)
    assert prompt.system == "$x {y} %s ${z}"
    view = "${dimensions} ${calibration} ${document} {0} \\1"
    assert prompt.user(view).endswith(view)
    assert prompt.messages(view)[1]["content"] == prompt.user(view)


@given(st.text())
def test_a_teacher_reads_the_view_out_again(view: str) -> None:
    prompt = Prompt("s", "before\n", "\nafter", "0")
    assert prompt.view_of(prompt.user(view)) == view


@pytest.mark.parametrize(
    ("system", "user"),
    [("", "no document"), ("", "${document} ${document}"), ("${document}", "${document}")],
)
def test_the_document_stands_once_in_the_user_part(tmp_path: Path, system: str, user: str) -> None:
    with pytest.raises(ConfigError, match="prompt_invalid"):
        load_prompt(templates(tmp_path, system, user), RUBRIC)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"system\.txt"):
        load_prompt(tmp_path, RUBRIC)


def test_a_template_that_was_never_imported_serves_nobody(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prompt_not_imported"):
        load_prompt(templates(tmp_path, f"{NOT_IMPORTED}: ...", "${document}"), RUBRIC)
    with pytest.raises(ConfigError, match="prompt_not_imported"):
        load_prompt(templates(tmp_path, "", f"{NOT_IMPORTED}\n${{document}}"), RUBRIC)


def test_a_calibration_that_the_rubric_does_not_have_is_refused(tmp_path: Path) -> None:
    bare = Rubric(RUBRIC.header, tuple(msgspec.structs.replace(one, examples=[]) for one in RUBRIC.anchors), "0")
    with pytest.raises(ConfigError, match="rubric_uncalibrated"):
        load_prompt(templates(tmp_path, "${calibration}", "${document}"), bare)
    assert load_prompt(templates(tmp_path, "a fixed scale", "${document}"), bare).system == "a fixed scale"


def test_an_empty_system_part_is_left_out(tmp_path: Path) -> None:
    prompt = load_prompt(templates(tmp_path, "", "${document}"), RUBRIC)
    assert prompt.messages("view") == [{"role": "user", "content": "view"}]


PARTS: list[Part | None] = [part for part in get_args(Part) for _ in range(5)]


def with_parts(parts: list[Part | None]) -> bytes:
    """A rubric file whose anchors have these parts."""
    anchors = [msgspec.structs.replace(one, part=part) for one, part in zip(RUBRIC.anchors, parts, strict=True)]
    return b"\n".join([msgspec.json.encode(RUBRIC.header), *map(msgspec.json.encode, anchors)])


@pytest.mark.parametrize("layout", ["interleaved", "scores_first"])
def test_a_rubric_of_thinking_and_answer_is_shown_and_read(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "qa-3.jsonl"
    path.write_bytes(with_parts(PARTS))
    rubric = load_rubric(path)
    prompt = load_prompt(templates(tmp_path, "${calibration}", "${dimensions}\n${document}"), rubric)
    lines = prompt.user("view").split("\n")
    assert [lines.index(title) for title in ("Of the thinking:", "Of the answer:")] == [0, 12]
    assert lines[lines.index("Of thinking and answer together:") + 1] == "[A6] Name 6"
    assert [line for line in lines if line.startswith("[A")] == [f"[A{n}] Name {n}" for n in range(1, DIMENSIONS + 1)]
    reply = write(Reply(list(range(1, 11)) + [0] * 5, 50, "keep"), layout, "rationale", rubric.names)  # type: ignore[arg-type]
    assert parse(reply, layout, rubric.names).scores == list(range(1, 11)) + [0] * 5  # type: ignore[arg-type]


@pytest.mark.parametrize("parts", [["think"] * 15, [*PARTS[:14], "think"], [*PARTS[:14], None]])
def test_parts_that_are_not_five_each_are_refused(tmp_path: Path, parts: list[Part | None]) -> None:
    path = tmp_path / "qa-3.jsonl"
    path.write_bytes(with_parts(parts))
    with pytest.raises(ConfigError, match="five think, five combined, five answer"):
        load_rubric(path)


def test_a_rubric_without_parts_has_no_titles(tmp_path: Path) -> None:
    prompt = load_prompt(templates(tmp_path, "", "${dimensions}${document}"), RUBRIC)
    assert "Of the" not in prompt.user("")
