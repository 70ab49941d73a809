"""The anchored prompt: literal templates, each name filled in once, the document untouched."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.errors import ConfigError
from mira_stream.prompt import Prompt, load_prompt
from mira_stream.rubric.anchors import Anchor, Example, Rubric, RubricHeader

RUBRIC = Rubric(
    RubricHeader(group="text", teacher="featurejudge", created_by="test"),
    tuple(
        Anchor(slot=f"A{n}", name=f"Name {n}", description="", examples=[Example(score=n / 2, reason=f"because {n}")])
        for n in range(1, 16)
    ),
    "0" * 12,
)


def write(folder: Path, system: str, user: str) -> Path:
    (folder / "system.txt").write_text(system, encoding="utf-8")
    (folder / "user.txt").write_text(user, encoding="utf-8")
    return folder


def test_the_top_twelve_anchors_calibrate_and_all_are_named(tmp_path: Path) -> None:
    prompt = load_prompt(write(tmp_path, "Scale:\n${calibration}", "Judge:\n${dimensions}\n\n${document}\n"), RUBRIC)
    assert "[A12] 6: because 12" in prompt.system
    assert "A13" not in prompt.system
    assert "[A15] Name 15" in prompt.user("view")
    assert prompt.user("view").endswith("\n\nview\n")


def test_nothing_else_is_interpreted(tmp_path: Path) -> None:
    prompt = load_prompt(write(tmp_path, "$x {y} %s ${z}", "${dimensions} ${document}"), RUBRIC)
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
        load_prompt(write(tmp_path, system, user), RUBRIC)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"system\.txt"):
        load_prompt(tmp_path, RUBRIC)
