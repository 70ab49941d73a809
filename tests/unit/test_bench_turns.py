"""Turns of the benchmarks, of scripted sides: asked in an order that favours none, and divided by the seconds that they
took, not by those they were asked to take."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import flow, posting
from bench.flow import PARTS, cost, members, parse_arguments
from bench.flow import SIDES as PIPES
from bench.flowing.job import Sample
from bench.flowing.job import Turn as Flown
from bench.posting import SIDES, Turn, committed, post, rounds, turn
from mira_stream.errors import DependencyError
from mira_stream.streaming.ports import TransactionalProducer
from tests.unit.scoring_project import make_project

ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Goes on only where it is told to."""
    found = Clock()
    monkeypatch.setattr(posting, "time", found)
    return found


async def test_documents_posted_are_counted_over_the_seconds_that_their_answers_took(clock: Clock) -> None:
    """Loaded for a second, while an answer takes ten: the two that a turn has at least take twenty."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.rpartition(b"Content-Length: ")[2]))
                clock.now += 10.0
                writer.write(ANSWER)
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        found = await post(server.sockets[0].getsockname()[1], "a", 1, 1.0)
    assert (found.times, found.seconds) == ([10.0, 10.0], 20.0)
    assert turn(found.times, [1, 1], found.seconds).rate == 0.1


async def test_transactions_are_counted_over_the_seconds_that_they_took(clock: Clock, tmp_path: Path) -> None:
    class Producer:
        async def commit(self, *given: Any) -> None:
            clock.now += 10.0

        async def close(self) -> None:
            clock.now += 1000.0

    async def producer(transactional_id: str) -> TransactionalProducer:
        return Producer()

    broker: Any = SimpleNamespace(producer=producer)
    assert (await committed(make_project(tmp_path), broker, 3, 1.0)).rate == 6 / 20


class Producing:
    """A producer whose intake runs as it is told to."""

    ends: Callable[[], Awaitable[None]]
    down: str | None = "not_started"

    def __init__(self, *given: Any) -> None:
        self.app: Any = None
        self.intake = SimpleNamespace(down=self.down, run=self.run, drain=lambda: None)

    async def run(self) -> None:
        await self.ends()


@contextlib.asynccontextmanager
async def nowhere(*given: Any) -> AsyncIterator[str]:
    yield "http://127.0.0.1:9"


@pytest.fixture
def producing(monkeypatch: pytest.MonkeyPatch) -> type[Producing]:
    monkeypatch.setattr(posting, "HttpProducer", Producing)
    monkeypatch.setattr(posting, "serve", nowhere)
    monkeypatch.setattr(posting, "guarded", lambda app: app)
    return Producing


async def test_an_intake_that_dies_at_its_start_ends_the_turn(
    tmp_path: Path, producing: type[Producing], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused() -> None:
        raise DependencyError("broker_refused", "no right", "give it")

    monkeypatch.setattr(producing, "ends", staticmethod(refused), raising=False)
    broker: Any = None
    async with asyncio.timeout(60):
        with pytest.raises(DependencyError, match="broker_refused"):
            await posting.posted(make_project(tmp_path), broker, 1, 0.5, True, "a")


async def test_an_intake_that_dies_under_load_ends_its_clients(
    tmp_path: Path, producing: type[Producing], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = asyncio.Event()
    cut: list[str] = []

    async def refused() -> None:
        await loading.wait()
        raise DependencyError("broker_refused", "no right", "give it")

    async def loaded(*given: Any) -> bytes:
        loading.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.append("clients")
        return b""

    monkeypatch.setattr(producing, "ends", staticmethod(refused), raising=False)
    monkeypatch.setattr(posting, "loaded", loaded)
    monkeypatch.setattr(producing, "down", None)
    broker: Any = None
    with pytest.raises(DependencyError, match="broker_refused"):
        await posting.posted(make_project(tmp_path), broker, 1, 0.5, True, "a")
    assert cut == ["clients"]


async def test_clients_that_fail_say_with_which_code() -> None:
    """Nobody listens at that port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(DependencyError, match="clients_failed: the clients ended with code 1"):
            await posting.loaded(f"http://127.0.0.1:{free.getsockname()[1]}", "a", 1, 0.5)


async def test_ways_to_post_follow_each_other_equally_often() -> None:
    asked: list[tuple[int, str]] = []
    names: list[str] = []

    def way(side: str) -> posting.Side:
        async def one(clients: int, name: str) -> Turn:
            asked.append((clients, side))
            names.append(name)
            return Turn(float(len(asked)), 1.0, 1.0, 1.0)

        return one

    found = await rounds({side: way(side) for side in SIDES}, [1, 8], 6)
    assert len(set(names)) == 36, "documents posted twice are none"
    for many in (1, 8):
        balanced([side for clients, side in asked if clients == many], SIDES)
        for side, turns in found[many].items():
            assert [asked[round(one.rate) - 1] for one in turns] == [(many, side)] * 6


async def test_costs_are_taken_in_an_order_that_favours_no_side(monkeypatch: pytest.MonkeyPatch) -> None:
    flown, joined = list[str](), list[str]()

    async def run(job: str) -> Flown:
        flown.append(job)
        return Flown(samples=[Sample(0, 0.0, 0.0, 1.0), Sample(10, 1.0, 0.1, 1.0)])

    async def run_members(job: str, many: int) -> list[Flown]:
        joined.append(str(many))
        return []

    monkeypatch.setattr(flow, "rate_of", lambda turns: float(len(joined)))
    flows: Any = SimpleNamespace(job=lambda side, documents, **more: side, run=run, run_members=run_members)
    given = parse_arguments(["--repeats", "10", *(f"--part={part}" for part in PARTS)])
    talk = list[str]().append
    found = await cost(flows, given, talk)
    assert {side: len(turns) for side, turns in found.items()} == dict.fromkeys(PIPES, 10)
    balanced(flown, PIPES)
    assert {many: len(rates) for many, rates in (await members(flows, given, talk)).items()} == {1: 10, 2: 10}
    balanced(joined, ["1", "2"])


def balanced(asked: list[str], sides: Any) -> None:
    """Every side once in each round, and behind each other one equally often."""
    count = len(sides)
    found = [asked[at : at + count] for at in range(0, len(asked), count)]
    assert all(sorted(one) == sorted(sides) for one in found)
    follows = Counter(pair for one in found for pair in pairwise(one))
    assert len(follows) == count * (count - 1)
    assert len(set(follows.values())) == 1
