"""How near to the ideal does the runner come with slow documents, and what do a stuck one and a rebalance cost?

Documents of 50 ms, 256 in flight: 256 / 0.05 s = 5,120/s is ideal. Measured on the embedded Kafka, results, offset and
Progress in transactions, from the first document begun to the last one committed:

  alone          the same handler under asyncio, 256 at once: no broker at all
  no-transaction the runner as it is, reading from Kafka, but what it would commit is thrown away
  release        the runner as it is
  stuck          the same, and the first document of the first partition takes --stuck-s: the rate of all others while
                 it is in work, and of the others of its own partition
  members        members of the group go 2 -> 3 -> 2 while they work: the longest time without any commit, and the
                 documents done again; once, behind the others

The first four take turns, --repeats times, in an order that has each follow each other one; medians count. Prints a
table; the last line is one JSON object.

    python bench/release.py --documents 60000 --repeats 4 --stuck-s 10 --rebalances 5
"""

import asyncio
import cProfile
import os
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import orjson
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command.arguments import Parser, at_least, new_file, positive, seconds
from bench.command.ending import program, run
from mira_stream.benching.alternating import order
from mira_stream.broker_local import embedded
from mira_stream.kafka import KafkaBroker
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker, TopicSpec, TransactionalProducer
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.service import log_to_stderr
from mira_stream.streaming.settings import RunnerSettings

PARTITIONS = 6
DOCUMENTS_MIN = 100
MEASUREMENTS = ("alone", "no-transaction", "release", "stuck", "members")
VALUE, RESULT = b"x" * 1_000, b"y" * 500
WRITTEN_AT_ONCE = 5_000


class Turn(NamedTuple):
    """Documents, wall clock from the first begun to the last committed, CPU of this process. `own`: documents a second
    of partition 0, where the stuck one is, from its first committed to its last."""

    documents: int
    seconds: float
    cpu_s: float
    own: float = 0.0

    @property
    def rate(self) -> float:
        return self.documents / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.documents * 1e6


class World:
    """What happened to the documents of one topic: begun how often, committed when."""

    def __init__(self, topic: str, documents: int, document_s: float, stuck_s: float = 0.0) -> None:
        self.topic = topic
        self.documents = documents
        self.document_s = document_s
        self.stuck_s = stuck_s
        self.begun: Counter[tuple[int, int]] = Counter()
        self.committed_at: list[tuple[float, int]] = []
        self.own_at: list[tuple[float, int]] = []
        self.committed = 0
        self.started = self.cpu = 0.0
        self.enough = asyncio.Event()
        self.wanted = documents

    def begin(self) -> None:
        if not self.started:
            self.started, self.cpu = time.perf_counter(), time.process_time()

    def commit(self, results: int, own: int) -> None:
        """`own`: of them those of partition 0."""
        self.committed += results
        self.committed_at.append((time.perf_counter(), results))
        if own:
            self.own_at.append((time.perf_counter(), own))
        if self.committed >= self.wanted:
            self.enough.set()

    async def until(self, wanted: int, *tasks: "asyncio.Task[None]") -> None:
        """Until so many results are committed; an error of a task is raised."""
        self.wanted = wanted
        if self.committed < wanted:
            self.enough.clear()
            waiting = asyncio.create_task(self.enough.wait())
            await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()

    def turn(self, documents: int) -> Turn:
        own = 0.0
        if len(self.own_at) > 1:
            (first_s, first), (last_s, _) = self.own_at[0], self.own_at[-1]
            own = (sum(results for _, results in self.own_at) - first) / (last_s - first_s)
        return Turn(documents, time.perf_counter() - self.started, time.process_time() - self.cpu, own)

    def settings(self, group: str, in_flight: int) -> RunnerSettings:
        return RunnerSettings(
            stage="bench", consumer_group=group, topics=(self.topic,), concurrent=True,
            limit=Amount(in_flight, 10**12, 10**12), partition_span=10**9, transaction_records=500,
            transaction_linger_s=0.5, drain_s=30.0, progress="progress", start="earliest",
        )  # fmt: skip


class Sleeper:
    """Each document takes its time and becomes one result."""

    def __init__(self, world: World, partition: TopicPartition) -> None:
        self._world = world
        self._partition = partition.partition

    async def open(self, next_offset: int) -> None: ...

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        world = self._world
        world.begin()
        world.begun[record.partition, record.offset] += 1
        is_stuck = world.stuck_s and record.partition == record.offset == 0
        await asyncio.sleep(world.stuck_s if is_stuck else world.document_s)
        return (Outgoing("results", record.key, RESULT, self._partition),)

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        return ()

    async def committed(self) -> None: ...

    async def close(self) -> None: ...


class _Counting:
    """A producer that tells the world what it has committed; with `void` it commits nothing."""

    def __init__(self, producer: TransactionalProducer, world: World, void: bool) -> None:
        self._producer = producer
        self._world = world
        self._void = void
        self.close = producer.close

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        if not self._void:
            await self._producer.commit(records, offsets, consumer_group)
        results = [record.partition for record in records if record.topic == "results"]
        self._world.commit(len(results), results.count(0))


class Watched(ForwardingBroker):
    """A broker whose producers are counted."""

    def __init__(self, broker: Broker, world: World, void: bool = False) -> None:
        super().__init__(broker)
        self._world = world
        self._void = void

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        return _Counting(await super().producer(transactional_id), self._world, self._void)


class Member:
    """One running member of the consumer group."""

    def __init__(self, servers: str, world: World, group: str, in_flight: int, void: bool = False) -> None:
        self.broker = KafkaBroker(BrokerSection(), servers)
        self.stop = asyncio.Event()

        def factory(partition: TopicPartition, reader: LogReader) -> Sleeper:
            return Sleeper(world, partition)

        watched = Watched(self.broker, world, void)
        self.task = asyncio.create_task(
            Runner(watched, world.settings(group, in_flight), factory, Metrics()).run(self.stop)
        )

    async def leave(self) -> None:
        self.stop.set()
        await self.task
        await self.broker.close()


async def write(servers: str, topic: str, documents: int) -> None:
    broker = KafkaBroker(BrokerSection(), servers)
    await broker.create_topics([TopicSpec(name, PARTITIONS) for name in (topic, "results", "progress")], 1)
    producer = await broker.producer(f"write.{topic}")
    for first in range(0, documents, WRITTEN_AT_ONCE):
        numbers = range(first, min(documents, first + WRITTEN_AT_ONCE))
        await producer.commit([Outgoing(topic, b"%d" % n, VALUE, n % PARTITIONS) for n in numbers], {}, None)
    await producer.close()
    await broker.close()


async def alone(world: World, in_flight: int) -> Turn:
    """The handler under asyncio, so many at once."""
    sleeper, left = Sleeper(world, TopicPartition(world.topic, 0)), iter(range(world.documents))

    async def one_after_the_other() -> None:
        for number in left:
            await sleeper.handle(Record(world.topic, 0, number + 1, 0, None, VALUE))

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    return world.turn(world.documents)


async def run_one(servers: str, world: World, group: str, in_flight: int, *, void: bool = False) -> Turn:
    """One member, all documents; with a stuck one, all the others."""
    member = Member(servers, world, group, in_flight, void)
    await world.until(world.documents - bool(world.stuck_s), member.task)
    turn = world.turn(world.committed)
    await world.until(world.documents, member.task)
    await member.leave()
    return turn


async def run_members(servers: str, world: World, group: str, in_flight: int, rebalances: int) -> dict[str, Any]:
    """2 -> 3 -> 2 members, again and again. A stall is the longest time without a commit around one change."""
    members = [Member(servers, world, group, in_flight // 2) for _ in range(2)]
    await world.until(world.documents // 20, *(one.task for one in members))
    step = int(world.documents * 0.9 / (2 * rebalances + 1))
    stalls: list[float] = []
    for change in range(2 * rebalances):
        before = len(world.committed_at) - 1
        if change % 2 == 0:
            members.append(Member(servers, world, group, in_flight // 2))
        else:
            await members.pop(0).leave()
        goal = min(world.committed + step, world.documents)
        await world.until(goal, *(one.task for one in members))
        times = [at for at, _ in world.committed_at[before:]]
        stalls.append(max((later - at for at, later in pairwise(times)), default=0.0))
        if goal == world.documents:
            break  # a change took longer than planned: fewer of them are measured
    await world.until(world.documents, *(one.task for one in members))
    for member in members:
        await member.leave()
    again = sum(count - 1 for count in world.begun.values())
    return {"changes": len(stalls), "stalls_s": sorted(stalls), "again": again, "committed": world.committed}


async def measure(given: Namespace, console: Console) -> dict[str, Any]:
    """The turns of each side, and what happened when members came and went."""
    found: dict[str, Any] = {}

    def world(stuck_s: float = 0.0) -> World:
        return World("documents", given.documents, given.document_s, stuck_s)

    with tempfile.TemporaryDirectory() as folder:
        async with embedded(Path(folder)) as servers:
            await write(servers, "documents", given.documents)
            runs: dict[str, Callable[[str], Awaitable[Turn]]] = {
                "alone": lambda group: alone(world(), given.in_flight),
                "no-transaction": lambda group: run_one(servers, world(), group, given.in_flight, void=True),
                "release": lambda group: run_one(servers, world(), group, given.in_flight),
                "stuck": lambda group: run_one(servers, world(given.stuck_s), group, given.in_flight),
            }
            sides = [name for name in runs if not given.only or name in given.only]
            for number in range(given.repeats):
                for name in order(sides, number):
                    found.setdefault(name, []).append(await runs[name](f"{name}-{number}"))
                    console.print(f"turn {number + 1}: {name}: {found[name][-1].rate:,.0f}/s")
            if not given.only or "members" in given.only:
                found["members"] = await run_members(servers, world(), "members", given.in_flight, given.rebalances)
                console.print(f"members: {found['members']}")
    return found


def figures(sides: Mapping[str, Sequence[Turn]], ideal: float) -> dict[str, Any]:
    """What the last line says of the sides; medians, `stuck_cost` within each round, and
    `stuck_cost_own` of its own partition (not there if a turn committed that in one go)."""
    found: dict[str, Any] = {}
    for name, turns in sides.items():
        key, rate = name.replace("-", "_"), median(turn.rate for turn in turns)
        found |= {f"{key}_per_s": round(rate, 1), f"{key}_share": round(rate / ideal, 4)}
        found[f"{key}_turns_per_s"] = [round(turn.rate, 1) for turn in turns]
        found[f"{key}_cpu_us"] = round(median(turn.cpu_us for turn in turns), 1)
    if "release" in sides and "stuck" in sides:
        pairs = list(zip(sides["stuck"], sides["release"], strict=True))
        found["stuck_cost"] = round(1 - median(stuck.rate / free.rate for stuck, free in pairs), 4)
        if all(free.own for _, free in pairs):
            found["stuck_cost_own"] = round(1 - median(stuck.own / free.own for stuck, free in pairs), 4)
    return found


def table(sides: Mapping[str, Sequence[Turn]], ideal: float) -> Table:
    shown = Table("", "documents/s: median", "turns", "share of the ideal", "CPU a document, µs")
    for name, turns in sides.items():
        rate, each = median(turn.rate for turn in turns), " ".join(f"{turn.rate:,.0f}" for turn in turns)
        cpu_us = median(turn.cpu_us for turn in turns)
        shown.add_row(name, f"{rate:,.0f}", each, f"{rate / ideal:.1%}", f"{cpu_us:.0f}")
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--documents", type=at_least(DOCUMENTS_MIN), default=60_000)
    parser.add_argument("--document-s", type=seconds, default=0.05)
    parser.add_argument("--in-flight", type=at_least(2), default=256)
    parser.add_argument("--repeats", type=positive, default=4, help="turns of each side")
    parser.add_argument("--stuck-s", type=at_least(0.0), default=10.0)
    parser.add_argument("--rebalances", type=positive, default=5)
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, help="one of the measurements by name; again for more"
    )
    parser.add_argument("--profile", type=new_file, help="write a cProfile of the whole run to this file")
    given = parser.parse_args(arguments)
    log_to_stderr()
    profile = cProfile.Profile()
    if given.profile:
        profile.enable()
    before = os.getloadavg()[0]
    found = run(measure(given, Console(stderr=True)))
    if given.profile:
        profile.disable()
        profile.dump_stats(given.profile)
    ideal = given.in_flight / given.document_s
    result: dict[str, Any] = {"documents": given.documents, "ideal_per_s": ideal, "stuck_s": given.stuck_s}
    result |= {"repeats": given.repeats, "load_before": round(before, 2)}
    sides = {name: turns for name, turns in found.items() if name != "members"}
    result |= figures(sides, ideal)
    Console().print(table(sides, ideal))
    if "stuck_cost" in result:
        own = f", those of its own partition {result['stuck_cost_own']:.1%}" if "stuck_cost_own" in result else ""
        Console().print(f"one document of {given.stuck_s} s costs the others {result['stuck_cost']:.1%}{own}")
    if "members" in found:
        stalls = found["members"]["stalls_s"]
        p99 = quantiles(stalls, n=100, method="inclusive")[98] if len(stalls) > 1 else stalls[0]
        result["members"] = {**found["members"], "stall_p99_s": round(p99, 3)}
        result["members"]["stalls_s"] = [round(one, 3) for one in stalls]
        Console().print(
            f"{len(stalls)} changes of members: stall p99 {p99:.2f} s, longest {stalls[-1]:.2f} s;"
            f" {found['members']['again']} documents done again"
        )
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    program(main)
