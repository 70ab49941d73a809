"""The bench of the scoring modes with a scripted engine: whether it measures what it says, not how fast."""

from pathlib import Path

import pytest

from bench.mode_parts.rows import length_notes
from bench.mode_parts.sides import KINDS, ONE_TOKEN, SPOKEN
from bench.modes import parse_arguments, run, table
from mira_stream.errors import UsageError

pytestmark = pytest.mark.models


async def test_every_mode_of_a_bucket_gets_its_row_of_the_same_documents() -> None:
    said: list[str] = []
    plan = parse_arguments(["--scripted", "--rest-s", "0", "--documents", "12", "--repeats", "2", "--lengths", "600"])
    rows = await run(plan, said.append)
    assert [(one.group, one.length, one.mode, one.documents) for one in rows] == [
        ("text", 600, kind, 12) for kind in KINDS
    ]
    spoken = {one.mode: one for one in rows if one.mode in SPOKEN}
    assert spoken["rationale"].ratio == 1
    # a scripted engine says the same in every mode
    assert [one.same_scores for one in spoken.values()] == [None, 1.0, 1.0]
    assert {one.prompt_tokens for one in rows} == {rows[0].prompt_tokens}
    assert rows[0].prompt_tokens == pytest.approx(600, rel=0.1)
    assert rows[0].overlap_of_these is not None
    assert {(one.gain_of_these, one.overlap_of_these, one.rho, one.mae) for one in spoken.values()} == {
        (rows[0].gain_of_these, rows[0].overlap_of_these, rows[0].rho, rows[0].mae)
    }
    by_kind = {one.mode: one for one in rows}
    head, least = by_kind["head"], by_kind[ONE_TOKEN]
    assert (head.reply_tokens, least.of_one_token) == (0, 1)
    assert head.mae is not None
    assert rows[0].mae is not None
    assert 0 < abs(head.mae - rows[0].mae) < 0.3, "the scripted head is a quarter of a point off"
    assert (least.rho, least.mae, least.gain_of_these, least.overlap_of_these, least.same_scores) == (None,) * 5
    # the first turn is not counted, and another one is first in each
    assert [line.split(" turn ")[1].split()[1] for line in said[:: len(KINDS)]] == list(KINDS[:3])
    assert sum("not counted" in line for line in said) == len(KINDS)
    assert table(rows).row_count == len(KINDS)


async def test_prompts_of_another_length_than_asked_for_are_named() -> None:
    """Of `text` what stands around a document takes some 450 tokens, and no document has 3,500."""
    asked = ["--kinds", "scores", "--documents", "2", "--repeats", "1", "--lengths", "50", "700", "3500"]
    rows = await run(parse_arguments(["--scripted", "--rest-s", "0", *asked]), lambda _: None)
    short, right, long = rows
    assert [cell for column in table(rows).columns[1:4] for cell in column.cells][:3] == ["50", "700", "3500"]
    assert short.document_tokens == 1
    assert right.document_tokens < right.prompt_tokens == pytest.approx(700, rel=0.1)
    assert length_notes(rows) == [
        f"of text, 50 tokens were asked for and prompts have {short.prompt_tokens:,.0f}, for what stands around a"
        " document takes nearly all of them: 1 are the document's",
        f"of text, 3,500 tokens were asked for and prompts have {long.prompt_tokens:,.0f}, for no longer documents are"
        " held out",
    ]


@pytest.mark.parametrize("more", [["--lengths", "400", "4000"], ["--lengths", "3000", "--reply-tokens", "1100"]])
def test_prompts_beyond_the_context_are_refused(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_arguments(["--scripted", *more])
    assert "exceed the 4,096 that a student takes here: give shorter --lengths" in capsys.readouterr().err


async def test_prompts_with_the_teachers_own_replies_are_refused_beyond_the_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = parse_arguments(["--scripted", "--rest-s", "0", "--documents", "2", "--lengths", "3900"])
    monkeypatch.setattr("bench.modes.reply_tokens", lambda *_: 200)
    with pytest.raises(UsageError, match=r"prompts of 3,900 tokens and 200 for the reply exceed"):
        await run(plan, lambda _: None)


async def test_what_is_not_asked_for_is_compared_with_nothing() -> None:
    """Without `one token` and `rationale` there is no ratio over the one and no scores of the other."""
    asked = ["--kinds", "expected", "scores", "--documents", "2", "--repeats", "1", "--lengths", "300"]
    plan = parse_arguments(["--scripted", "--rest-s", "0", *asked])
    rows = await run(plan, lambda _: None)
    assert [(one.mode, one.over, one.of_one_token, one.same_scores) for one in rows] == [
        ("scores", "scores", None, None), ("expected", "scores", None, None),
    ]  # fmt: skip
    assert [column.header for column in table(rows).columns][6] == "over scores (least)"


def test_a_head_that_is_asked_for_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_arguments(["--kinds", "head", "one token", "--heads", str(tmp_path)])
    assert "has no head in" in (said := capsys.readouterr().err)
    assert "mira-stream distill --head --group text" in said
