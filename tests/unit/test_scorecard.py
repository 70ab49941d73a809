"""The reply parser reads what stands there, invents nothing and never raises."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS, Layout, Mode
from mira_stream.scorecard import Reply, check_mode, check_taught, parse, reading, reply_regex, write
from mira_stream.scorecard.block import read_block
from mira_stream.testing.engine import GARBAGE

NAMES = [f"Dimension {number} (with 3/10: and more)" for number in range(1, 16)]
LAYOUTS: list[Layout] = ["scores_first", "interleaved"]
PAIRS: list[tuple[Layout, Mode]] = [
    ("scores_first", "scores"),
    ("scores_first", "expected"),
    ("scores_first", "rationale"),
    ("interleaved", "rationale"),
    ("interleaved", "scores"),
    ("interleaved", "expected"),
]
NINE = "\n".join(f"[{slot}] {score}/10" for slot, score in zip(SLOTS, [*range(1, 11), *range(1, 6)], strict=True))

one_line = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=60)
scores_of_all = st.lists(st.integers(0, 100).map(lambda tenths: tenths / 10), min_size=15, max_size=15)
replies = st.builds(
    Reply,
    scores_of_all,
    st.integers(0, 100),
    st.sampled_from(["keep", "downsample", "drop"]),
    st.from_regex(r"\A[a-z][a-z-]{0,20}\Z"),
    st.from_regex(r"\A[A-Z][a-z ]{0,50}[a-z]\Z"),
    st.lists(st.from_regex(r"\A[A-Za-z][A-Za-z0-9/. ]{0,40}\Z"), min_size=15, max_size=15),
)


@given(replies, st.sampled_from(PAIRS))
def test_what_is_written_is_read(reply: Reply, pair: tuple[Layout, Mode]) -> None:
    layout, mode = pair
    reading = parse(write(reply, layout, mode, NAMES), layout, NAMES)
    assert reading.scores == list(reply.scores)
    assert (reading.overall, reading.recommendation) == (reply.overall, reply.recommendation)
    assert reading.repairs == []
    assert reading.complete
    if mode == "rationale":
        assert (reading.domain_tag, reading.brief) == (reply.domain_tag, " ".join(reply.brief.split()))


@settings(max_examples=30)
@given(st.sampled_from(PAIRS), st.data())
def test_whatever_the_grammar_allows_is_read_completely(pair: tuple[Layout, Mode], data: st.DataObject) -> None:
    layout, mode = pair
    pattern = reply_regex(layout, mode, NAMES).replace(r"[^\n\r]+", r"[A-Za-z0-9][A-Za-z0-9 /.]{0,20}")
    reading = parse(data.draw(st.from_regex(pattern, fullmatch=True)), layout, NAMES)
    assert reading.complete
    assert reading.repairs == []
    assert reading.overall is not None
    assert reading.recommendation is not None


@given(replies, st.sampled_from(PAIRS))
def test_whatever_is_written_the_grammar_allows(reply: Reply, pair: tuple[Layout, Mode]) -> None:
    layout, mode = pair
    whole = reply._replace(scores=[round(score) for score in reply.scores]) if layout == "scores_first" else reply
    assert re.fullmatch(reply_regex(layout, mode, NAMES), write(whole, layout, mode, NAMES))


slot_like = st.sampled_from(["[A1]", "[A2] ", "A3", "**[A4]**", "[A15]:", "[a7]", "- [A9]", "[A16]", "[A0]", "[A1"])
number_like = st.sampled_from(
    ["7/10", "11/10", "7.55/10", "-3/10", "7", "7,5/10", "seven/10", "9/10 or 2/10", "1e1/10", "/10"]
)
glue = st.sampled_from(
    [" ", ": ", " — ", NAMES[0], f"{NAMES[3]}: ", "\n", "overall: ", "training_recommendation: keep\n", ""]
)
messy = st.one_of(
    st.text(max_size=300),
    st.lists(st.one_of(slot_like, number_like, glue, one_line), max_size=40).map("".join),
)


changes = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 2), st.sampled_from(["", " ", "*", "\n", "0", "5", ".", "</think>", "—"])
    ),
    max_size=2,
)
strange_names = st.lists(st.text(max_size=12), min_size=15, max_size=15)


@contextmanager
def slowly() -> Iterator[None]:
    """Each line is read as one that was not taught."""
    parser = reading._Parser
    with (
        patch.object(parser, "_scored_as_taught", return_value=False),
        patch.object(parser, "_said_as_taught", return_value=False),
    ):
        yield


def line_by_line(reply: str, layout: Layout, names: list[str]) -> reading.Reading:
    """How all faster ways must read."""
    parser = reading._Parser(layout, names)
    spoken = reading.without_thinking(reply)
    if spoken != reply:
        parser.repairs.append("thinking")
    *lines, unfinished = re.split(r"\r\n|\n|\r", spoken)
    with slowly(), patch.object(parser, "_rest_as_taught", return_value=None):
        for line in filter(str.strip, lines):
            parser.line(line, ended=True)
        if unfinished.strip():
            parser.line(unfinished, ended=False)
    return parser.reading()


@given(replies, st.sampled_from(PAIRS), st.one_of(st.just(NAMES), strange_names), changes, messy)
def test_a_block_says_what_its_lines_say(
    reply: Reply, pair: tuple[Layout, Mode], names: list[str], changes: list[tuple[int, int, str]], tail: str
) -> None:
    layout, mode = pair
    text = write(reply, layout, mode, names)
    for at, length, other in changes:
        text = f"{text[:at]}{other}{text[at + length :]}"
    for whole in (text, f"{text}\n{tail}"):
        read = parse(whole, layout, names)
        assert line_by_line(whole, layout, names) == read
        with patch.object(reading, "read_block", return_value=None):
            assert parse(whole, layout, names) == read


taught_like = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["", "", "", " ", "*"]),
    st.sampled_from(["[A1] ", "[A2] ", "[A10] ", "[A15] ", "[A16] ", "[A1]", "[A1]  ", "[A01] ", "A1] ", "[A1 ] "]),
    st.sampled_from(["", *NAMES[:2], NAMES[9], f"{NAMES[0]} ", "7", "7/10"]),
    st.sampled_from(["", ": ", ":", " ", ":  "]),
    st.sampled_from(["7/10", "10/10", "0/10", "7.5/10", "10.0/10", "7.55/10", "07/10", "7/100", "7", "7/10 ", "-7/10"]),
    st.sampled_from(
        ["", " — x", " — ", " —", " — \u2028x", " —  8/10", " — 8/10 ", " - x", " — \x0b", " — x\x1c", "/10"]
    ),
    st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "", "\x85"]),
)


@settings(max_examples=500)
@given(
    st.lists(st.one_of(taught_like, st.sampled_from(["overall: 64\n", "training_recommendation: keep\n", "x\n"]))),
    st.sampled_from(LAYOUTS),
    st.sampled_from([NAMES, ["7", "7/10", "", " x", "*x*", "a: b", *NAMES[6:]], [""] * 15]),
)
def test_a_line_as_taught_is_read_as_any_other(lines: list[str], layout: Layout, names: list[str]) -> None:
    assert parse("".join(lines), layout, names) == line_by_line("".join(lines), layout, names)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("tail", ["", "[A3] 5/10\n", f"[A3] {NAMES[2]}: 5/10\n", "\r\n[A2] x\r\n"])
@pytest.mark.parametrize("mark", ["overall: 64", "**overall:** 64", "overall: 640", "overall:", "x\noverall: 64"])
def test_a_mark_behind_the_scores_costs_them_nothing(pair: tuple[Layout, Mode], mark: str, tail: str) -> None:
    layout, mode = pair
    text = write(Reply([3] * 15, 64, "keep", "tag", "brief", ["why"] * 15), layout, mode, NAMES)
    whole = text.replace("overall: 64", mark) + tail
    assert read_block(whole, layout, NAMES) is not None or "\r" in whole
    read = parse(whole, layout, NAMES)
    assert line_by_line(whole, layout, NAMES) == read


marks = st.sampled_from(
    [
        ("[A{0}]", "**[A{0}]**"), ("[A{0}] ", "[A{0}]  "), ("[A{0}] ", "[A{0}]\t"), ("[A{0}]", "- [A{0}]:"),
        ("[A{0}]", "\n[A{0}]"), ("[A{0}]", "A{0}"), ("[A{0}]", "[A{1}]"), ("[A{0}]", "x\n[A{0}]"),
        ("[A{0}]", "[A{0}] 3/10\n[A{0}]"), ("[A{0}]", "training_recommendation: keep\n[A{0}]"),
        ("[A{0}]", "overall: 3\n[A{0}]"), ("[A{0}]", "\r[A{0}]"), ("[A{0}]", "[A{1}] 3/10\n[A{0}]"),
        ("[A{0}]", "**[A{1}]** 3/10\r\n[A{0}]"), ("[A{0}]", ""), ("[A{0}]", "[a{0}]"), ("/10\n", "/10 \n"),
        ("/10", " / 10"), ("/10", "0/10"), ("/10", "/10."), ("/10 — ", "/10 — 9/10 "), (" — ", " - "),
        (" — ", " — \u2028"), (": ", ":  "), (": ", " "), ("\n", "\r\n"), ("\n", "\r"), ("\n", "\n\n"),
        ("\n", " \n"), ("\n", "\x85"), ("\n", "\x0b\n"), ("overall", "**overall**"), ("keep", "**keep**"),
        ("\n", "\n<think>"), ("\n", "</think>\n"), ("[A15]", "[A16]"), ("[A1]", "Here:\n\n[A1]"), ("/10", "/10 —"),
        ("[A{0}] ", "[A{0}] {0}/10 "),
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(
    replies,
    st.sampled_from(PAIRS),
    st.one_of(st.just(NAMES), st.just(["7", "7/10", "", " x", "*x*", "a: b", *NAMES[6:]]), strange_names),
    st.lists(st.tuples(marks, st.integers(1, 16), st.integers(0, 16), st.sampled_from([1, 1, 2, -1])), max_size=4),
    st.integers(0, 3_000),
)
def test_a_reply_with_marks_is_read_as_line_by_line(
    reply: Reply,
    pair: tuple[Layout, Mode],
    names: list[str],
    changed: list[tuple[tuple[str, str], int, int, int]],
    left: int,
) -> None:
    layout, mode = pair
    text = write(reply, layout, mode, names)
    for (old, new), one, other, times in changed:
        text = text.replace(old.format(one, other), new.format(one, other), times)
    for whole in (text, text[:left], text[left % 200 :]):
        assert parse(whole, layout, names) == line_by_line(whole, layout, names)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("new", ["**[A7]**", "[A7] ", "\n[A7]", "x\n[A7]", "[A8] 3/10\n[A7]", "[A3] 3/10\n[A7]"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_one_line_that_is_not_as_taught_costs_the_others_nothing(pair: tuple[Layout, Mode], new: str, end: str) -> None:
    layout, mode = pair
    text = write(Reply([3] * 15, 64, "keep", "tag", "brief", ["why"] * 15), layout, mode, NAMES)
    whole = text.replace("[A7]", new, 1).replace("\n", end)
    read = parse(whole, layout, NAMES)
    assert line_by_line(whole, layout, NAMES) == read
    with patch.object(reading._Parser, "line", autospec=True, side_effect=reading._Parser.line) as lines:
        assert parse(whole, layout, NAMES) == read
    fields = 2 if mode == "rationale" else 0
    assert lines.call_count <= 2 + fields + (1 + 15 * (layout == "scores_first")) * (new.startswith("[A8]"))


def test_a_dash_without_a_reason_is_a_repair_in_a_block_too() -> None:
    text = write(Reply([3] * 15, 30, "drop", "tag", "brief", ["why"] * 15), "interleaved", "rationale", NAMES)
    bare = text.replace("3/10 — why\n", "3/10 — \n", 1)
    assert bare != text
    assert parse(bare, "interleaved", NAMES).repairs == ["dash:A1"]


@given(messy, st.sampled_from(LAYOUTS))
@example("[A1] 7/10\x85[A2] 9/10", "scores_first")
@example("[A1] " + "9" * 5000 + "/10", "scores_first")
def test_no_score_that_does_not_stand_on_its_slots_own_line(reply: str, layout: Layout) -> None:
    reading = parse(reply, layout, NAMES)
    assert len(reading.scores) == 15
    for number, score in enumerate(reading.scores, start=1):
        if score is None:
            continue
        assert 0 <= score <= 10
        assert round(score * 10) == pytest.approx(score * 10)
        own = [line for line in re.split(r"\r\n|\n|\r", reply) if re.search(rf"(?i)A{number}(?![0-9])", line)]
        written = [float(text) for line in own for text in re.findall(r"(?<![0-9.,])[0-9]+(?:\.[0-9])?", line)]
        assert score in written


@given(st.data(), st.sampled_from(LAYOUTS))
def test_a_missing_or_moved_line_never_shifts_another(data: st.DataObject, layout: Layout) -> None:
    scores = data.draw(st.lists(st.integers(0, 10), min_size=15, max_size=15))
    lines = write(Reply(scores, 50, "keep"), layout, "scores" if layout == "scores_first" else "rationale", NAMES)
    slot_lines, rest = lines.split("\n")[:15], lines.split("\n")[15:]
    order = data.draw(st.permutations(range(15)))
    kept = order[: data.draw(st.integers(0, 15))]
    reading = parse("\n".join([*(slot_lines[place] for place in kept), *rest]), layout, NAMES)
    assert reading.scores == [score if place in kept else None for place, score in enumerate(scores)]
    missing = {f"slot_missing:{slot}" for place, slot in enumerate(SLOTS) if place not in kept}
    assert {repair for repair in reading.repairs if repair.startswith("slot_missing")} == missing


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_garbage_is_never_a_card(name: str, layout: Layout) -> None:
    assert parse(GARBAGE[name], layout, NAMES).read <= 1


@pytest.mark.parametrize(
    ("line", "score", "repair"),
    [
        ("[A1] 7/10", 7, None),
        ("[A1] 7.5/10", 7.5, None),
        ("**[A1]** 7/10", 7, "markup:A1"),
        ("- [A1]: 7/10", 7, "markup:A1"),
        ("1. [A1] 7/10", 7, "markup:A1"),
        ("[A1]7/10", 7, "markup:A1"),
        ("[A1] 7 / 10", 7, None),
        ("[A1] 7", 7, "denominator:A1"),
        ("[A1] 07/10", 7, "leading_zero:A1"),
        ("[A1] 7/10 because", 7, "text:A1"),
        (f"[A1] {NAMES[0]}: 7/10 — because", 7, "name:A1"),
        ("[A1] Another name: 7/10", 7, "name:A1"),
        ("[A1] 11/10", None, "out_of_range:A1"),
        ("[A1] 7/5", None, "out_of_range:A1"),
        ("[A1] -3/10", None, "out_of_range:A1"),
        ("[A1] 7.55/10", None, "too_precise:A1"),
        ("[A1] seven/10 — or 9/10", None, "not_a_number:A1"),
        ("[A1] 7,5/10", None, "not_a_number:A1"),
        ("[A1] 7-8/10", None, "not_a_number:A1"),
        ("[A1] 7/10 - 8/10", None, "not_a_number:A1"),
        ("[A1] NaN/10", None, "not_a_number:A1"),
        ("[A1]", None, "not_a_number:A1"),
        ("[A1] ７/10", None, "not_a_number:A1"),
    ],
)
def test_one_line(line: str, score: float | None, repair: str | None) -> None:
    reading = parse(f"{line}\n", "scores_first", NAMES)
    assert reading.scores[0] == score
    repairs = [name for name in reading.repairs if not name.startswith("slot_missing")]
    assert repair in repairs if repair is not None else repairs == []


@pytest.mark.parametrize("dash", ["–", "-", "--", ":", "−"])
def test_other_dashes_are_repaired(dash: str) -> None:
    reading = parse(f"[A1] {NAMES[0]}: 7/10 {dash} because\n", "interleaved", NAMES)
    assert reading.scores[0] == 7
    assert "dash:A1" in reading.repairs


def test_a_slot_said_twice_and_differently_is_null() -> None:
    reading = parse("[A1] 7/10\n[A2] 5/10\n[A1] 3/10\n[A2] 5/10\n", "scores_first", NAMES)
    assert reading.scores[:2] == [None, 5]
    assert {"slot_twice:A1", "slot_repeated:A2"} <= set(reading.repairs)


def test_justifications_after_the_score_block_are_no_scores() -> None:
    text = f"{NINE}\noverall: 50\ntraining_recommendation: keep\ndomain_tag: x\nbrief: y\n[A1] 1/10 of it is odd\n"
    reading = parse(text, "scores_first", NAMES)
    assert reading.scores[0] == 1
    assert reading.complete
    assert reading.repairs == []
    other = parse(text.replace("[A1] 1/10\n", "[A1] 9/10\n", 1), "scores_first", NAMES)
    assert other.scores[0] == 9


def test_scores_said_while_thinking_do_not_count() -> None:
    reading = parse(f"<think>maybe\n[A1] 9/10\n</think>\n\n{NINE}\n", "scores_first", NAMES)
    assert reading.scores[0] == 1
    assert "thinking" in reading.repairs
    assert parse(f"<think>\n{NINE}\n", "scores_first", NAMES).read == 0


def test_a_number_at_the_cut_off_end_is_not_read() -> None:
    """`[A10] 1` may have been going to be `[A10] 10/10`, and `overall: 6` to be 64."""
    assert parse("[A9] 4/10\n[A10] 1", "scores_first", NAMES).scores[8:10] == [4, None]
    assert parse("overall: 6", "scores_first", NAMES).overall is None
    assert parse("overall: 64\n", "scores_first", NAMES).overall == 64


@pytest.mark.parametrize("value", ["101", "-1", "many", "64/10", "6.4.1", "nan"])
def test_an_overall_that_is_none_is_null(value: str) -> None:
    assert parse(f"overall: {value}\n", "scores_first", NAMES).overall is None


@pytest.mark.parametrize("value", ["Keep", "**keep**", "keep."])
def test_a_decorated_verdict_is_repaired(value: str) -> None:
    reading = parse(f"training_recommendation: {value}\n", "scores_first", NAMES)
    assert reading.recommendation == "keep"
    assert "markup:training_recommendation" in reading.repairs


def test_an_unknown_verdict_is_null() -> None:
    assert parse("training_recommendation: maybe\n", "scores_first", NAMES).recommendation is None


def test_modes_that_no_student_can_answer_are_refused() -> None:
    with pytest.raises(ConfigError, match="mode_invalid"):
        reply_regex("scores_first", "head", NAMES)
    with pytest.raises(ConfigError, match="mode_invalid"):
        check_mode("interleaved", "scores", constrained=False)
    check_mode("interleaved", "scores", constrained=True)
    check_mode("scores_first", "scores", constrained=False)
    check_mode("interleaved", "rationale", constrained=False)


def test_interleaved_is_taught_with_its_reasons() -> None:
    check_taught("interleaved", "rationale")
    check_taught("scores_first", "scores")
    refused: list[tuple[Layout, Mode]] = [
        ("interleaved", "scores"), ("interleaved", "expected"), ("scores_first", "head")
    ]  # fmt: skip
    for layout, mode in refused:
        with pytest.raises(ConfigError, match="mode_invalid"):
            check_taught(layout, mode)


def test_a_reason_that_is_missing_beside_others_is_named() -> None:
    reply = Reply([7.0] * 15, 70, "keep", "tag", "brief", ["so"] * 15)
    told = write(reply, "interleaved", "rationale", NAMES)
    assert parse(told.replace("7/10 — so", "7/10", 1), "interleaved", NAMES).repairs == ["reason:A1"]
    assert parse(told.replace("7/10 — so", "7/10"), "interleaved", NAMES).repairs == []


def test_score_lines_of_interleaved_have_names_and_no_reasons() -> None:
    reply = Reply([7.5] * 15, 70, "keep", "tag", "brief", ["so"] * 15)
    lines = write(reply, "interleaved", "scores", NAMES).split("\n")
    assert lines == [*(f"[{slot}] {name}: 7.5/10" for slot, name in zip(SLOTS, NAMES, strict=True)), *lines[-2:]]
    assert lines[-2:] == ["overall: 70", "training_recommendation: keep"]


def test_the_demo_students_wire_format() -> None:
    text = write(Reply([7] * 15, 70, "keep"), "scores_first", "scores", NAMES)
    assert text.startswith("[A1] 7/10\n[A2] 7/10\n")
    assert text.endswith("[A15] 7/10\noverall: 70\ntraining_recommendation: keep")
