"""Justifications of a reply, in both layouts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.messages import SLOTS, Layout
from mira_stream.scorecard import Reply, read_justifications, write

NAMES = [f"Dimension {slot} at 7/10" for slot in SLOTS]
LAYOUTS: tuple[Layout, ...] = ("scores_first", "interleaved")
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)


def reply(layout: Layout, reasons: list[str]) -> str:
    return write(Reply([3] * 15, 30, "drop", "tag", "brief", reasons), layout, "rationale", NAMES)


@given(layout=st.sampled_from(LAYOUTS), words=st.lists(WORDS, min_size=1, max_size=4))
def test_what_was_written_is_read(layout: Layout, words: list[str]) -> None:
    reasons = [f"Reason {slot} {' '.join(words)} ends." for slot in SLOTS]
    assert read_justifications(reply(layout, reasons), layout, NAMES) == reasons


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_line_shifts_no_other(layout: Layout) -> None:
    reasons = [f"Reason {slot}." for slot in SLOTS]
    text = reply(layout, reasons)
    line = next(one for one in text.splitlines() if "Reason A4." in one)
    found = read_justifications(text.replace(line + "\n", ""), layout, NAMES)
    assert found == [*reasons[:3], None, *reasons[4:]]


def test_scores_are_no_justifications() -> None:
    scores = write(Reply([3] * 15, 30, "drop"), "scores_first", "scores", NAMES)
    assert read_justifications(scores, "scores_first", NAMES) == [None] * 15
    assert read_justifications("prose, nothing else", "interleaved", NAMES) == [None] * 15
    assert read_justifications("[A1] x: 7/10 — \n[A99] y: 3/10 — z", "interleaved", NAMES) == [None] * 15


def test_what_is_thought_or_said_twice_is_not_read() -> None:
    thought = "<think>\n[A1] x: 7/10 — a thought\n</think>\n[A2] x: 7/10 – a reason\n[A3] **x**: 7/10 - **bold**"
    assert read_justifications(thought, "interleaved", NAMES)[:4] == [None, "a reason", "bold", None]
    twice = "[A1] x: 7/10 — one\n[A1] x: 7/10 — another\n[A2] x: 7/10 — same\n[A2] x: 7/10 — same"
    assert read_justifications(twice, "interleaved", NAMES)[:2] == [None, "same"]
