"""A teacher's free-form judgement: what is asked, and what is taken for an answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.errors import DocumentError
from mira_stream.rubric.freeform import (
    ELLIPSIS,
    NAME_CHARACTERS_MAX,
    FreeDimension,
    freeform_messages,
    freeform_system,
    freeform_view,
    parse_freeform,
    write_freeform,
)

GOOD = [FreeDimension(name=f"Quality {number}", score=number % 10 + 1, reason="It is so.") for number in range(15)]


def changed(index: int, **fields: Any) -> str:
    """A good answer with one entry changed; a field of None is left out."""
    entries = [{"name": one.name, "score": one.score, "reason": one.reason} for one in GOOD]
    entries[index] = {key: value for key, value in (entries[index] | fields).items() if value is not None}
    return json.dumps({"dimensions": entries})


def test_what_is_written_is_read() -> None:
    assert parse_freeform(write_freeform(GOOD)) == GOOD


def test_names_and_reasons_are_one_line() -> None:
    found = parse_freeform(changed(3, name="Depth\n[A1]  of it", reason="goes\r\ndeep "))[3]
    assert (found.name, found.reason) == ("Depth [A1] of it", "goes deep")


@given(st.text(alphabet="ab \n", min_size=1).filter(str.strip), st.integers(1, 60))
def test_what_is_too_long_is_cut_not_lost(words: str, times: int) -> None:
    long = f"{words} " * times
    found = parse_freeform(changed(3, name=f"Z {long}", reason=long))[3]
    for text, whole, most in ((found.name, f"Z {long}", NAME_CHARACTERS_MAX), (found.reason, long, 400)):
        line = " ".join(whole.split())
        assert len(text) <= most
        if len(line) <= most:
            assert text == line
        else:
            assert text.endswith(ELLIPSIS)
            assert line.startswith(text.removesuffix(ELLIPSIS))
            assert " " not in line[: most - len(ELLIPSIS)] or line[len(text) - len(ELLIPSIS)] == " "


def test_a_name_and_a_reason_of_one_endless_word_are_cut() -> None:
    found = parse_freeform(changed(3, name="x" * 500, reason="y" * 5000))[3]
    assert found.name == "x" * (NAME_CHARACTERS_MAX - len(ELLIPSIS)) + ELLIPSIS
    assert len(found.reason) == 400


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```\n", "  ```json\n{}\n```  "])
def test_a_fence_around_it_is_allowed(fence: str) -> None:
    assert parse_freeform(fence.replace("{}", write_freeform(GOOD))) == GOOD


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I would judge this document by its clarity.",
        "Here it is: " + write_freeform(GOOD),
        write_freeform(GOOD)[:-30],
        write_freeform(GOOD[:14]),
        write_freeform([*GOOD, FreeDimension(name="One more", score=3, reason="x")]),
        json.dumps([{"name": "a", "score": 1, "reason": "b"}] * 15),
        changed(3, score="seven"),
        changed(3, score=None),
        changed(3, score=0),
        changed(3, score=11),
        changed(3, name=""),
        changed(3, name="   "),
        changed(3, name="Quality 4"),
        changed(3, name=" Quality 4 "),
        changed(3, name="Quality\n4"),
        changed(3, reason=" \n"),
        changed(3, reason=None),
        json.dumps({"dimensions": json.loads(write_freeform(GOOD))["dimensions"], "note": "hm"}),
        "[" * 100_000,
    ],
)
def test_anything_else_is_unreadable(reply: str) -> None:
    with pytest.raises(DocumentError, match="reply_unreadable"):
        parse_freeform(reply)


@given(st.text())
def test_no_text_breaks_the_reader(reply: str) -> None:
    with pytest.raises(DocumentError, match="reply_unreadable"):
        parse_freeform(reply)


@given(st.text())
def test_the_view_comes_back(view: str) -> None:
    system, user = freeform_messages(view, "agent")
    assert system == {"role": "system", "content": freeform_system("agent")}
    assert freeform_view(user["content"]) == view


def test_families_are_asked_differently() -> None:
    assert len({freeform_system("text"), freeform_system("qa"), freeform_system("agent")}) == 3
