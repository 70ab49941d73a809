"""The stream beside its engine, in small: that every side answers all and the figures are of what ran."""

import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from bench.busy.sets import NAMES, WAITED
from bench.stream_vs_engine import BATCHES, SIDES, STREAM, measure, offline_engine, parse_arguments, result, table

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]
DOCUMENTS = 6
SCHEDSTAT = Path("/proc/self/schedstat")


async def test_all_sides_answer_all_sets() -> None:
    given = parse_arguments(["--documents", str(DOCUMENTS), "--repeats", "1", "--rest-s", "0"])
    llm = await asyncio.to_thread(offline_engine, given.project, given.group)
    found = await measure(given, llm, Console(record=True, quiet=True))
    assert set(found) == set(NAMES)
    for name, took in found.items():
        assert set(took) == ({BATCHES, STREAM} if name == WAITED else set(SIDES))
        for one in (one for turns in took.values() for one in turns):
            assert 0 < one.cpu.here < one.seconds * 2
            assert (one.cpu.engine > 0) == (name != WAITED), "an engine that waits has no process"
            assert (one.cpu.waited > 0) == (name != WAITED and SCHEDSTAT.exists()), "whoever runs has waited a moment"
            assert one.cpu.broker >= 0
        assert [one.block_s is not None for side in took for one in took[side]] == [side == STREAM for side in took]
    shown = result(found, given)
    for name, took in found.items():
        (stream,) = took[STREAM]
        for side, ratio in shown["sets"][name]["ratio"].items():
            assert ratio == pytest.approx(took[side][0].seconds / stream.seconds, abs=1e-3)
    assert table(found, DOCUMENTS).row_count == sum(map(len, found.values()))
