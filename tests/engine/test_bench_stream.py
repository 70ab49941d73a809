"""The stream beside its engine, in small: that every side answers all and the figures are of what ran."""

import pytest
from rich.console import Console

from bench.busy.sets import NAMES, WAITED
from bench.stream_vs_engine import BATCHES, DEMO_PROJECT, SIDES, STREAM, measure, parse_arguments, result, roomy, table
from mira_stream.config import load_project

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]
DOCUMENTS = 6


async def test_all_sides_answer_all_sets() -> None:
    given = parse_arguments(["--documents", str(DOCUMENTS), "--repeats", "1", "--rest-s", "0"])
    project = roomy(load_project(DEMO_PROJECT, environment={}), given.group)
    console = Console(record=True, quiet=True)
    found = await measure(project, given.group, given, console)
    assert set(found) == set(NAMES)
    for name, took in found.items():
        assert set(took) == ({BATCHES, STREAM} if name == WAITED else set(SIDES))
        assert all(one.seconds > one.cpu_s / 2 > 0 for turns in took.values() for one in turns)
    shown = result(found, given)
    for name, took in found.items():
        (stream,) = took[STREAM]
        for side, ratio in shown["sets"][name]["ratio"].items():
            assert ratio == pytest.approx(took[side][0].seconds / stream.seconds, abs=1e-3)
    assert table(found, DOCUMENTS).row_count == sum(map(len, found.values()))
