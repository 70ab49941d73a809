"""The bench of the scoring modes with a scripted engine: whether it measures what it says, not how fast."""

import pytest

from bench.modes import DEMO_PROJECT, MODES, parse_arguments, run, table
from mira_stream.config import load_project


async def test_every_mode_of_a_bucket_gets_its_row_of_the_same_documents() -> None:
    said: list[str] = []
    plan = parse_arguments(["--scripted", "--documents", "12", "--repeats", "2", "--lengths", "600"])
    rows = await run(load_project(DEMO_PROJECT, environment={}), plan, said.append)
    assert [(one.group, one.length, one.mode, one.documents) for one in rows] == [
        ("text", 600, mode, 12) for mode in MODES
    ]
    assert rows[0].ratio == 1
    assert {one.same_scores for one in rows} == {1.0}  # a scripted engine says the same in every mode
    assert {one.prompt_tokens for one in rows} == {rows[0].prompt_tokens}
    assert rows[0].prompt_tokens == pytest.approx(600, rel=0.1)
    assert rows[0].overlap is not None
    assert {(one.gain, one.overlap) for one in rows} == {(rows[0].gain, rows[0].overlap)}
    # the first turn is not counted, and each mode is first in one of three
    assert [line.split()[4] for line in said[::3]] == list(MODES)
    assert sum("not counted" in line for line in said) == 3
    assert table(rows).row_count == 3
