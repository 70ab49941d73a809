"""Replies in the layout of the released students: interleaved, em dash, the long names of Agent-Group4."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.messages import SLOTS
from mira_stream.scorecard import READ_MIN, Reading, Reply, check_mode, parse, reply_regex, write

NAMES = (
    "Plan Quality / Reasoning Transparency (Goal Achievement)",
    "Output Style/Communication",
    "Goal Achievement",
    "Plan Quality / Reasoning Transparency",
    "Test Coverage & Verification Rigor",
    "Multi-turn Coherence",
    "Error Recovery",
    "Tool Argument Correctness",
    "Action Efficiency",
    "User Intent Comprehension",
    "Safety & scope",
    "Observation handling",
    "Code Change Minimality",
    "Tool Selection",
    "Tool Selection (Safety & Scope)",
)
SCORES = [7, 6.5, 8, 3, 10, 9, 5, 4, 0, 7, 2, 1, 6, 8.5, 4.5]
REASONS = [
    "names its steps (first 3/10 of the log), then acts",
    "terse; 2/10 turns are noise",
    "the issue is closed: 12 of 12 tests pass",
    "steps 1-4 are said, 5 is not",
    "runs 10/10 cases",
    "turn 9 refers to turn 3 — and to [A2]",
    "recovers after 1 failure",
    "paths are right - mostly",
    "repeats `ls` 4 times",
    "asks for nothing; A11: no conflict",
    "no rm -rf /",
    "reads 3,000 lines",
    "touches 1/10 files",
    "grep before edit",
    "sandboxed: 5/5",
]
FIELDS = [
    "overall: 61",
    "training_recommendation: downsample",
    "domain_tag: swe-repair",
    "brief: Fixes a parser; tests pass 10/10.",
]
LINES = [
    f"[{slot}] {name}: {score:g}/10 — {reason}"
    for slot, name, score, reason in zip(SLOTS, NAMES, SCORES, REASONS, strict=True)
]


def read(lines: list[str], end: str = "\n") -> Reading:
    return parse(end.join([*lines, *FIELDS]), "interleaved", NAMES)


def scores_but(*missing: int) -> list[float | None]:
    """All scores, null for these slots' numbers."""
    return [None if number in missing else score for number, score in enumerate(SCORES, start=1)]


def changed(number: int, line: str) -> list[str]:
    return [*LINES[: number - 1], line, *LINES[number:]]


def test_a_reply_as_the_card_shows_it() -> None:
    reading = read(LINES)
    assert reading == (SCORES, 61, "downsample", "swe-repair", "Fixes a parser; tests pass 10/10.", [])


def test_it_is_what_is_written_and_what_the_grammar_allows() -> None:
    check_mode("interleaved", "rationale", constrained=False)
    reply = Reply(SCORES, 61, "downsample", "swe-repair", "Fixes a parser; tests pass 10/10.", REASONS)
    text = write(reply, "interleaved", "rationale", NAMES)
    assert text.split("\n") == [*LINES, *FIELDS]
    assert re.fullmatch(reply_regex("interleaved", "rationale", NAMES), text)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n\n", "\n \n"])
def test_other_line_ends_change_nothing(end: str) -> None:
    assert read(LINES, end).scores == SCORES


@pytest.mark.parametrize("dash", ["–", "-", "--", "―", "−", ":", "->", "|"])
def test_other_dashes_are_repaired(dash: str) -> None:
    for number, line in enumerate(LINES, start=1):
        reading = read(changed(number, line.replace("/10 — ", f"/10 {dash} ", 1)))
        assert reading.scores in (SCORES, scores_but(number))
        assert [repair for repair in reading.repairs if repair.endswith(f":A{number}")]
    plain = read(changed(14, f"[A14] Tool Selection: 8.5/10 {dash} grep before edit"))
    assert plain.scores == SCORES
    assert plain.repairs == ["dash:A14"]


@pytest.mark.parametrize(
    ("number", "line", "score"),
    [
        (1, "**[A1] Plan Quality / Reasoning Transparency (Goal Achievement):** 7/10 — x", 7),
        (1, "- **[A1]** *Plan Quality / Reasoning Transparency (Goal Achievement)*: **7/10** — x", 7),
        (1, "### [A1] Plan Quality / Reasoning Transparency (Goal Achievement): 7/10 — x", 7),
        (1, "1. [A1] Plan Quality/Reasoning Transparency (Goal Achievement): 7/10 — x", 7),
        (1, "[A1] Plan Quality / Reasoning Transparency (Goal Achievement) 7/10 — tests: 3/10 pass", 7),
        (1, "[A1] Plan Quality / Reasoning Transparency (Goal Achievement): 07/10 — x", 7),
        (1, "[A1] 7/10 — no name", 7),
        (2, "[A2] Output Style/Communication : 6.5 /10, — x", 6.5),
        (2, "[A2] output style/communication: 6.5/10", 6.5),
        (2, "[A2] Output Style/Communication: 6.55/10 — x", None),
        (3, "[A3] Goal Achievement: 8 — x", 8),
        (3, "[A3] Goal Achievement: 11/10 — x", None),
        (3, "[A3] Goal Achievement: -8/10 — x", None),
        (3, "[A3] Goal Achievement: 8/5 — x", None),
        (3, "[A3] Goal Achievement: eight — 8/10 of the work is done", None),
        (3, "[A3] Goal Achievement: n/a — 3/10 tests", None),
        (3, "[A3] Goal Achievement — done: 8/10", None),
        (3, "[A3] the issue is closed: 8/10 of the tests pass", None),
        (4, "[A4] Clarity 7/10 — tests: 3/10 pass", None),
        (4, "[A4] Plan Quality / Reasoning Transparency (Goal Achievement): 3/10 — x", None),
        (14, "[A14] Tool Selection (Safety & Scope): 8.5/10 — x", None),
        (14, "[A14] Tool Selection (Safety & Scope) 8.5/10 — x", None),
        (15, "[A15] Tool Selection: 4.5/10 — x", None),
        (15, "[A15] **Tool Selection**: 4.5/10 — x", None),
        (5, "[A5] Test Coverage & Verification Rigor:", None),
        (5, "A5 Test Coverage & Verification Rigor: 10/10 — x", 10),
        (5, "| [A5] | Test Coverage & Verification Rigor | 10/10 | x |", None),
    ],
)
def test_one_line_is_read_or_null_and_named(number: int, line: str, score: float | None) -> None:
    reading = read(changed(number, line))
    assert reading.scores == [score if place == number else own for place, own in enumerate(SCORES, start=1)]
    assert [repair for repair in reading.repairs if repair.endswith(f":A{number}")]


def test_names_that_were_swapped_belong_to_nobody() -> None:
    lines = changed(14, LINES[13].replace(NAMES[13], NAMES[14]))
    lines[14] = LINES[14].replace(NAMES[14], NAMES[13])
    reading = read(lines)
    assert reading.scores == scores_but(14, 15)
    assert {"name_of_another:A14", "name_of_another:A15"} <= set(reading.repairs)


def test_slots_that_were_swapped_belong_to_nobody_and_moved_lines_to_themselves() -> None:
    lines = changed(1, LINES[0].replace("[A1]", "[A4]"))
    lines[3] = LINES[3].replace("[A4]", "[A1]")
    assert read(lines).scores == scores_but(1, 4)
    moved = read(LINES[::-1])
    assert moved.scores == SCORES
    assert moved.repairs == ["order"]


@pytest.mark.parametrize(
    "before",
    [
        "Here is my judgement of the 15 dimensions (A1 to A15), 7/10 at best:\n\n",
        "```\n",
        "<think>\n[A1] Plan: 2/10 — perhaps\n[A2] 1/10\n</think>\n\n",
        "Let me see.\n[A1] Goal Achievement: 2/10 — perhaps\nGood.\n</think>\n\n",
        "[A0] Preface: 1/10 — no slot\n",
    ],
)
@pytest.mark.parametrize("after", ["", "\n```", "\n\nI hope this helps. 3/10 of it is mine.", "\n<think>\n[A1] 1/10"])
def test_text_before_and_after_is_no_score(before: str, after: str) -> None:
    reading = parse(before + "\n".join([*LINES, *FIELDS]) + after, "interleaved", NAMES)
    assert reading.scores == SCORES
    assert (reading.overall, reading.recommendation) == (61, "downsample")
    assert reading.repairs


def test_a_justification_may_speak_of_thinking() -> None:
    lines = changed(6, f"[A6] {NAMES[5]}: 9/10 — its <think> block is long, and </think> is never written")
    assert read(lines).scores == SCORES


@given(st.integers(0, len("\n".join(LINES))))
def test_a_cut_tail_leaves_whole_lines_whole(length: int) -> None:
    text = "\n".join(LINES)[:length]
    reading = parse(text, "interleaved", NAMES)
    whole = text.count("\n")
    assert reading.scores[:whole] == SCORES[:whole]
    assert reading.scores[whole] in (SCORES[whole], None)
    assert set(reading.scores[whole + 1 :]) <= {None}
    assert reading.overall is None
    assert (reading.read >= READ_MIN) == (len([one for one in reading.scores if one is not None]) >= READ_MIN)


garbled = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=40)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[int, list[str]]:
    """One line of a reply, damaged in one of many ways: its place and the lines."""
    place = draw(st.integers(0, 14))
    line, at = LINES[place], draw(st.integers(0, len(LINES[place])))
    other = draw(st.integers(0, 14))
    ways = [
        [],
        [line, line],
        [line[:at]],
        [line[at:]],
        [line[:at], line[at:]],
        [line[:at] + draw(garbled) + line[at:]],
        [draw(garbled)],
        [line.replace(SLOTS[place], SLOTS[other], 1)],
        [line.replace(NAMES[place], NAMES[other], 1)],
        [line.replace("/10", draw(st.sampled_from(["", "/5", "/100", "/1", ",5/10", "–9/10"])), 1)],
        [line.replace(" — ", draw(st.sampled_from([" - ", "", " ", "—", "\t", ": "])), 1)],
        [line.swapcase()],
        [f"> **{line}**"],
        [f"{line} [{SLOTS[other]}] {NAMES[other]}: 1/10 — x"],
    ]
    return place, [*LINES[:place], *draw(st.sampled_from(ways)), *LINES[place + 1 :]]


@given(damaged())
def test_damage_to_one_line_never_shifts_another_score(damage: tuple[int, list[str]]) -> None:
    place, lines = damage
    reading = read(lines)
    for number, (score, own) in enumerate(zip(reading.scores, SCORES, strict=True)):
        if number != place:
            assert score in (own, None)
    assert sum(score is None for score in reading.scores) <= 2
    assert (reading.overall, reading.recommendation) == (61, "downsample")


@given(st.integers(0, 13))
def test_a_lost_line_end_costs_the_next_slot_only(place: int) -> None:
    reading = read([*LINES[:place], LINES[place] + LINES[place + 1], *LINES[place + 2 :]])
    assert reading.scores == scores_but(place + 2)
    assert f"slot_missing:A{place + 2}" in reading.repairs
