"""What the figures of a bench rest on: from when a latency counts, what belongs to a turn, and what ends a run."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from mira_stream.benching import running, turns
from mira_stream.benching.direct import DirectBench
from mira_stream.benching.flow import FlowBench
from mira_stream.benching.frame import Frames
from mira_stream.benching.load import Load
from mira_stream.benching.machine import descendants, memory_mib
from mira_stream.benching.observing import Used
from mira_stream.benching.result import Turn
from mira_stream.benching.running import Plan, measure
from mira_stream.benching.standin import StandInEngine
from mira_stream.benching.turns import SILENT_S, Sampled, take
from mira_stream.config import Project
from mira_stream.errors import CheckFailed, DependencyError
from mira_stream.scoring.engine import Engine
from tests.flow.test_bench import GIVEN, measured_by_the_loop, quiet
from tests.simulation.project import simulated_project
from tests.unit.test_benching import turn
from tests.virtual import in_virtual_time

CLOSED, OPEN = Load(documents=4, outstanding=2), Load(documents=50, rate_per_s=100.0)
BROKER = 4711


class Told:
    """A bench whose documents end `endings` times each when their sending ends. All it counts is over all turns."""

    def __init__(self, endings: int = 1, busy: Sequence[float] = (0.0,)) -> None:
        self.outcome: Callable[[bytes, bool], None] = lambda key, dead: None
        self.beside = frozenset({BROKER})
        self.engines: list[Any] = [SimpleNamespace(frames=Frames(), used=self._used(each)) for each in busy]
        self._endings = endings
        self._read = self._turn = 0

    def _used(self, busy: float) -> Callable[[], Used]:
        return lambda: Used(busy * self._read, self._read, 10 * self._read, 4 * self._read, 2 * self._read)

    async def prepare(self, count: int) -> Sequence[bytes]:
        self._turn += 1
        self._keys = [f"{self._turn}-{number}".encode() for number in range(count)]
        return self._keys

    async def send(self, first: int, last: int) -> None:
        await asyncio.sleep(1)
        self._read += last - first
        for key in self._keys[first:last] * self._endings:
            self.outcome(key, False)

    def sampled(self) -> Sampled:
        return Sampled(0.1 * self._read, self._read)


@in_virtual_time
async def test_latency_counts_from_when_a_document_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are due in half a second; most wait for the first sending to end before their own, of a second, begins."""
    measured_by_the_loop(monkeypatch)
    found = await take(Told(), OPEN, 1, quiet, "t")
    assert 1_500 < found.latency_ms.p50 < found.latency_ms.p99 < 2_100


@in_virtual_time
async def test_a_document_that_ends_twice_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_by_the_loop(monkeypatch)
    with pytest.raises(CheckFailed, match=r"bench_doubled: . documents ended twice"):
        await take(Told(endings=2), CLOSED, 1, quiet, "t")


@pytest.mark.parametrize(("load", "sent"), [(CLOSED, 2), (OPEN, 50)])
def test_where_nothing_ends_any_more_the_turn_does(monkeypatch: pytest.MonkeyPatch, load: Load, sent: int) -> None:
    @in_virtual_time
    async def silent() -> None:
        measured_by_the_loop(monkeypatch)
        with pytest.raises(DependencyError, match=f"bench_silent: no outcome for 180 s; 0 of {sent} documents sent"):
            async with asyncio.timeout(SILENT_S + 10):  # of virtual time
                await take(Told(endings=0), load, 1, quiet, "t")

    silent()


@in_virtual_time
async def test_a_turn_has_what_was_spent_in_it_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four documents in two seconds, two at a time; the first of two engines works 0.2 s for each."""
    measured_by_the_loop(monkeypatch)
    monkeypatch.setattr(turns, "memory_mib", lambda without: 10.0 if without == {BROKER} else 999.0)
    bench = Told(busy=(0.2, 0.0))
    for number in (1, 2, 3):
        found = await take(bench, CLOSED, number, quiet, "t")
        assert (found.prompts, found.prompt_tokens, found.cached_tokens, found.generation_tokens) == (8, 80, 32, 16)
        assert found.engine_busy == pytest.approx(0.2, rel=0.01)
        assert found.waiting == pytest.approx(0.2, rel=0.01)
        assert (found.lag_most, found.peak_memory_mib) == (2, 10.0)
        assert found.lag_mean > 1


async def test_a_run_begins_with_a_warm_up_and_no_two_turns_have_the_same_arrivals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Load, int]] = []

    async def taken(bench: DirectBench, load: Load, seed: int, *_: object) -> Turn:
        asked.append((load, seed))
        return turn(10 + seed)

    monkeypatch.setattr(running, "take", taken)
    monkeypatch.setattr(running, "_real_engine", lambda project, group: StandInEngine())
    load = Load(documents=400, rate_per_s=100.0)
    plan = Plan(kind="engine", groups=["text"], load=load, repetitions=3)
    run = await measure(simulated_project(1), plan, GIVEN[1::2], "20260101T000000Z", quiet)
    assert asked == [(Load(documents=200), 0), (load, 1), (load, 2), (load, 3)]
    assert run.turns == [turn(11), turn(12), turn(13)], "the warm-up is no part of the run"


@pytest.mark.parametrize("kind", [DirectBench, FlowBench])
async def test_prefix_caches_are_emptied_before_every_turn_but_the_first(kind: Any) -> None:
    emptied: list[str] = []

    class Caching(StandInEngine):
        async def reset_prefix_cache(self) -> None:
            emptied.append("once")

    def build(project: Project, group: str) -> Engine:
        return Caching()

    bench = kind(simulated_project(0), ["text"], GIVEN[1::2], build)
    if kind is FlowBench:  # whose engines are built by its scorer
        bench._engine(bench.project, "text")
    for turns_before in range(3):
        assert len(await bench.prepare(4)) == 4
        assert len(emptied) == turns_before


def test_memory_is_not_that_of_the_processes_beside() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert {os.getpid(), child.pid} <= set(descendants([os.getpid()]))
        without = set(descendants([os.getpid()], {child.pid}))
        assert os.getpid() in without
        assert child.pid not in without
        assert memory_mib({os.getpid()}) == 0
        child.communicate(b"\n")
