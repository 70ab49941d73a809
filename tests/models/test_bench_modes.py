"""The bench of the scoring modes with a scripted engine: whether it measures what it says, not how fast."""

import pytest

from bench.modes import DEMO_PROJECT, KINDS, ONE_TOKEN, SPOKEN, parse_arguments, run, table
from mira_stream.config import load_project

pytestmark = pytest.mark.models


async def test_every_mode_of_a_bucket_gets_its_row_of_the_same_documents() -> None:
    said: list[str] = []
    plan = parse_arguments(["--scripted", "--documents", "12", "--repeats", "2", "--lengths", "600"])
    rows = await run(load_project(DEMO_PROJECT, environment={}), plan, said.append)
    assert [(one.group, one.length, one.mode, one.documents) for one in rows] == [
        ("text", 600, kind, 12) for kind in KINDS
    ]
    spoken = {one.mode: one for one in rows if one.mode in SPOKEN}
    assert spoken["rationale"].ratio == 1
    assert {one.same_scores for one in spoken.values()} == {1.0}  # a scripted engine says the same in every mode
    assert {one.prompt_tokens for one in rows} == {rows[0].prompt_tokens}
    assert rows[0].prompt_tokens == pytest.approx(600, rel=0.1)
    assert rows[0].overlap is not None
    assert {(one.gain, one.overlap, one.rho, one.mae) for one in spoken.values()} == {
        (rows[0].gain, rows[0].overlap, rows[0].rho, rows[0].mae)
    }
    by_kind = {one.mode: one for one in rows}
    head, least = by_kind["head"], by_kind[ONE_TOKEN]
    assert (head.generation_tokens, least.of_one_token) == (0, 1)
    assert head.mae is not None
    assert rows[0].mae is not None
    assert 0 < abs(head.mae - rows[0].mae) < 0.3, "the scripted head is a quarter of a point off"
    assert (least.rho, least.mae, least.gain, least.overlap) == (None, None, None, None)
    # the first turn is not counted, and another one is first in each
    assert [line.split(" turn ")[1].split()[1] for line in said[:: len(KINDS)]] == list(KINDS[:3])
    assert sum("not counted" in line for line in said) == len(KINDS)
    assert table(rows).row_count == len(KINDS)
