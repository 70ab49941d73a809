"""Which mode a mode falls back to, and which one its student learns."""

from typing import Literal

import pytest

from mira_stream.messages import Layout, Mode
from mira_stream.sections import CascadeSection, GroupSection


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


@pytest.mark.parametrize(
    ("layout", "mode", "full", "chain"),
    [
        ("scores_first", "scores", "scores", []),
        ("scores_first", "expected", "scores", ["scores"]),
        ("scores_first", "head", "scores", ["scores"]),
        ("scores_first", "cascade", "rationale", ["rationale"]),
        ("interleaved", "scores", "scores", ["rationale"]),
        ("interleaved", "expected", "scores", ["scores", "rationale"]),
        ("interleaved", "head", "scores", ["scores", "rationale"]),
        ("interleaved", "cascade", "scores", ["scores", "rationale"]),
        ("interleaved", "cascade", "rationale", ["rationale"]),
    ],
)
def test_a_layout_with_reasons_ends_in_the_mode_that_it_was_taught(
    layout: Layout, mode: Mode, full: Literal["rationale", "scores"], chain: list[Mode]
) -> None:
    section = GroupSection(family="text", layout=layout, mode=mode, cascade=CascadeSection(full_mode=full))
    assert [one.mode for one in section.slower_in_turn] == chain
