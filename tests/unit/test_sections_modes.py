"""Which mode a mode falls back to, and which one its student learns."""

import pytest

from mira_stream.messages import Layout, Mode
from mira_stream.sections import GroupSection


@pytest.mark.parametrize(
    ("layout", "mode", "slower", "lesson"),
    [
        ("scores_first", "rationale", None, "rationale"),
        ("scores_first", "scores", None, "scores"),
        ("scores_first", "expected", "scores", "expected"),
        ("scores_first", "head", "scores", "scores"),
        ("interleaved", "rationale", None, "rationale"),
        ("interleaved", "scores", "rationale", "rationale"),
        ("interleaved", "expected", "scores", "rationale"),
        ("interleaved", "head", "scores", "rationale"),
    ],
)
def test_each_mode_knows_the_next_slower_one(layout: Layout, mode: Mode, slower: Mode | None, lesson: Mode) -> None:
    section = GroupSection(family="text", layout=layout, mode=mode)
    assert (None if section.slower is None else section.slower.mode) == slower
    assert section.lesson_mode == lesson
