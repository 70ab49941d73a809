"""How many score cards a second does one aggregator decide on, exactly once, and what does a source cost?

A score log of random cards (8 groups, 4 partitions) is decided on by the real aggregator on the embedded Kafka. Beside
it, in the same run and on the same records, the limit: aiokafka alone reads, writes the same bytes and commits, in
transactions of the same size, and decides nothing. The two take turns; medians count. Then the states of all sources
are restored from the topics, as a restart would, the partitions side by side; their limit is aiokafka alone, which
reads the same records. Last, the memory of a source is traced. Prints tables; the last line is one JSON object.

    python bench/aggregator.py --cards 100000 --sources 1000 --repeats 3
"""

import asyncio
import gc
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import aiokafka
import orjson
from mira_stream.consumers.aggregator import TRANSACTIONS, aggregate
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command.arguments import Parser, positive
from bench.command.ending import program, run
from mira_stream.broker_local import embedded
from mira_stream.config import Project, Settings
from mira_stream.kafka import KafkaBroker
from mira_stream.messages import SLOTS, Decision, Mask, Origin, Policy, Prior, ScoreCard, encode
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.sections import WINDOWS_MAX, GroupSection, ProjectSection, SourceSection
from mira_stream.selecting.handler import SelectingFactory
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.selector import Selector
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.service import GARBAGE, log_to_stderr
from mira_stream.streaming.topics import topic_specs
from mira_stream.windows import SourceWindows

GROUPS = [f"group-{number}" for number in range(8)]
LINEAGE = "0123456789ab"
MEANS = [6.0] * 15
WRITTEN_AT_ONCE = 2_000
LOOK_S = 0.05
HOUR_MS = 3_600_000
FETCH_BYTES = 4 * 2**20
PARTITIONS = 4


class Turn(NamedTuple):
    """One way through the whole log: wall clock and CPU of this process, first record to last commit."""

    seconds: float
    cpu_s: float


def settings_of(prefix: str, sources: int) -> Settings:
    named = {f"source-{n}": SourceSection(group=GROUPS[n % len(GROUPS)]) for n in range(sources)}
    groups = {group: GroupSection(family="text") for group in GROUPS}
    return Settings(project=ProjectSection(prefix=prefix), groups=groups, sources=named)


def policies(settings: Settings, prior: Prior | None = None) -> list[tuple[str, Policy | Mask]]:
    """What an aggregator is told of these sources: all dimensions count."""
    found: list[tuple[str, Policy | Mask]] = [("*", Policy(retention=0.4))]
    for name, source in settings.sources.items():
        mask = Mask(
            mask="m",
            group=str(source.group),
            source=name,
            lineage=LINEAGE,
            dimensions=list(SLOTS),
            means=MEANS,
            trim=0.1,
            prior=prior,
        )
        found.append((f"source:{name}", mask))
    return found


def card(number: int, rng: random.Random, settings: Settings) -> ScoreCard:
    """A document has a level, its dimensions scatter round it; now and then a score could not be read."""
    source = f"source-{rng.randrange(len(settings.sources))}"
    level = rng.gauss(6.0, 1.5)
    scores: list[float | None] = [
        None if rng.random() < 0.03 else float(min(10, max(1, round(level + rng.gauss(0, 1))))) for _ in SLOTS
    ]
    group = str(settings.sources[source].group)
    origin = Origin(
        topic=f"documents.{group}", partition=number % PARTITIONS, offset=number, timestamp_ms=1_700_000_000_000
    )
    return ScoreCard(
        id=f"document-{number}", source=source, group=group, origin=origin, lineage=LINEAGE, mode="scores",
        scores=scores, tokens=rng.randint(50, 2_000), prompt_tokens=500, generation_tokens=120,
        brief="a page of a manual", engine_s=0.25,
    )  # fmt: skip


async def write_log(broker: Broker, project: Project, cards: int, seed: int) -> None:
    """Policies and cards, in transactions as a scorer's."""
    await broker.create_topics(topic_specs(project), 1)
    producer = await broker.producer(project.topic("bench"))
    told = [Outgoing(project.topic("policy"), key.encode(), encode(one), 0) for key, one in policies(project.settings)]
    await producer.commit(told, {}, None)
    rng = random.Random(seed)
    for first in range(0, cards, WRITTEN_AT_ONCE):
        made = [card(number, rng, project.settings) for number in range(first, min(cards, first + WRITTEN_AT_ONCE))]
        await producer.commit([Outgoing(project.topic("scores"), c.group.encode(), encode(c)) for c in made], {}, None)
    await producer.close()
    await (await broker.producer(project.topic("bench"))).close()  # until all of it can be read


async def ends(broker: Broker, topic: str) -> dict[TopicPartition, int]:
    """Behind the last card of each partition: where a consumer group has to get to."""
    reader = await broker.reader()
    try:
        found: dict[TopicPartition, int] = {}
        for partition in await reader.partitions(topic):
            first, end = (await reader.bounds([partition]))[partition]
            async for record in reader.read(partition, max(first, end - 3 * WRITTEN_AT_ONCE), end):
                found[partition] = record.offset + 1
        return found
    finally:
        await reader.close()


async def aggregate_once(broker: Broker, project: Project, wanted: dict[TopicPartition, int]) -> Turn:
    """The real aggregator from its first card to its last commit."""
    stop, metrics = asyncio.Event(), Metrics()
    group = project.consumer_group("aggregator")
    running = asyncio.create_task(aggregate(project, broker, metrics, stop))
    started = cpu = 0.0
    try:
        while True:
            if not started and _records_in(metrics):
                started, cpu = time.perf_counter(), time.process_time()
            reached = await broker.committed(group, wanted)
            if all(reached.get(partition, 0) >= end for partition, end in wanted.items()):
                return Turn(time.perf_counter() - started, time.process_time() - cpu)
            if running.done():
                await running
            await asyncio.sleep(LOOK_S)
    finally:
        stop.set()
        await running


def _records_in(metrics: Metrics) -> bool:
    return any(sample.value for family in metrics.records_in.collect() for sample in family.samples)


async def copy_once(bootstrap: str, topic: str, to: str, records: int, wanted: dict[TopicPartition, int]) -> Turn:
    """aiokafka alone: read committed records, write their bytes, commit offsets, in transactions of `records`."""
    consumer = aiokafka.AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=f"{to}.copy", isolation_level="read_committed",
        enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{to}.copy", linger_ms=5)
    await consumer.start()
    await producer.start()
    started = cpu = 0.0
    left = {aiokafka.TopicPartition(*partition): end for partition, end in wanted.items()}
    try:
        while left:
            fetched = await consumer.getmany(timeout_ms=200, max_records=records)
            if not fetched:
                continue
            if not started:
                started, cpu = time.perf_counter(), time.process_time()
            async with producer.transaction():
                await asyncio.gather(
                    *[await producer.send(to, one.value, one.key) for found in fetched.values() for one in found]
                )
                offsets = {at: found[-1].offset + 1 for at, found in fetched.items()}
                await producer.send_offsets_to_transaction(offsets, f"{to}.copy")
            left = {at: end for at, end in left.items() if offsets.get(at, 0) < end}
        return Turn(time.perf_counter() - started, time.process_time() - cpu)
    finally:
        await producer.stop()
        await consumer.stop()


class Noting:
    """A LogReader that notes what is read through it."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self.ranges: set[tuple[TopicPartition, int, int]] = set()

    async def partitions(self, topic: str) -> list[TopicPartition]:
        return await self._reader.partitions(topic)

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return await self._reader.bounds(partitions)

    async def high_watermarks(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self._reader.high_watermarks(partitions)

    def read(self, partition: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        self.ranges.add((partition, first, end))
        return self._reader.read(partition, first, end)

    async def close(self) -> None:
        await self._reader.close()


class Restored(NamedTuple):
    """What a restart costs until all partitions could go on, and what it costs to read the same records alone."""

    ours: Turn
    limit: Turn
    records: int


async def restore_once(bootstrap: str, broker: Broker, project: Project, wanted: dict[TopicPartition, int]) -> Restored:
    """Policy, states and replay of all partitions side by side, as after a kill; then the limit."""
    factory, reader = SelectingFactory(project, Metrics()), Noting(await broker.reader())
    try:
        handlers = [(factory(partition, reader), end) for partition, end in wanted.items()]
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(handler.open(end) for handler, end in handlers))
        ours = Turn(time.perf_counter() - started, time.process_time() - cpu)
        for handler, _ in handlers:
            await handler.close()
    finally:
        await reader.close()
    started, cpu = time.perf_counter(), time.process_time()
    read = await asyncio.gather(*(read_alone(bootstrap, *one) for one in reader.ranges))
    return Restored(ours, Turn(time.perf_counter() - started, time.process_time() - cpu), sum(read))


async def read_alone(bootstrap: str, partition: TopicPartition, first: int, end: int) -> int:
    """aiokafka alone: the committed records of a range, counted."""
    client = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
    )  # fmt: skip
    at, records = aiokafka.TopicPartition(*partition), 0
    await client.start()
    try:
        client.assign([at])
        client.seek(at, first)
        while await client.position(at) < end:
            records += sum(map(len, (await client.getmany(at, timeout_ms=200)).values()))
        return records
    finally:
        await client.stop()


def bytes_a_source(sources: int, cards_each: int, seed: int) -> float:
    """Traced memory of a source: its mask with a prior of 300 held-out cards, its rules, its states, and as many
    windows as are kept, all of them filled."""
    settings, rng = settings_of("memory", sources), random.Random(seed)
    prior = Prior(cells={str(cell): 1.5 for cell in range(300, 500)}, documents=300, tokens=60_000)
    told = [(key.encode(), encode(message)) for key, message in policies(settings, prior)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    log, selector = PolicyLog(), Selector(0)
    for offset, (key, message) in enumerate(told):
        log.add(Record("policy", 0, offset, 0, key, message))
    rules = {name: log.rules(str(one.group), name, LINEAGE) for name, one in settings.sources.items()}
    windows = {name: SourceWindows(name, str(one.group), HOUR_MS, 0) for name, one in settings.sources.items()}
    for number in range(sources * cards_each):
        found = card(number, rng, settings)
        known = rules[found.source]
        assert known is not None
        outcome = selector.select(found, number, known).outcome
        if isinstance(outcome, Decision):
            hour = number * WINDOWS_MAX // (sources * cards_each)
            windows[found.source].add(replace(outcome, event_time_ms=1 + hour * HOUR_MS))
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / sources


async def one_turn(bootstrap: str, project: Project, cards: int, seed: int) -> tuple[Turn, Turn, Restored]:
    """Limit, ours, and a restore, over a log of the project's own prefix."""
    settings = project.settings
    broker = KafkaBroker(settings.broker, bootstrap)
    try:
        await write_log(broker, project, cards, seed)
        scores, to = project.topic("scores"), project.topic("decisions")
        wanted = await ends(broker, scores)
        limit = await copy_once(bootstrap, scores, to, TRANSACTIONS * settings.limits.transaction_records, wanted)
        ours = await aggregate_once(broker, project, wanted)
        return limit, ours, await restore_once(bootstrap, broker, project, wanted)
    finally:
        await broker.close()


async def measure(cards: int, sources: int, repeats: int, seed: int, console: Console) -> dict[str, Any]:
    """Turns of both sides, and every restore."""
    found: dict[str, Any] = {"ours": [], "limit": [], "restored": []}
    with tempfile.TemporaryDirectory() as folder:
        async with embedded(Path(folder)) as bootstrap:
            for turn in range(repeats):
                project = Project(Path(folder), settings_of(f"bench{turn}", sources))
                limit, ours, restored = await one_turn(bootstrap, project, cards, seed)
                found["limit"].append(limit)
                found["ours"].append(ours)
                found["restored"].append(restored)
                console.print(
                    f"turn {turn + 1}: aggregator {ours.seconds:.2f} s, limit {limit.seconds:.2f} s; restored in"
                    f" {restored.ours.seconds:.2f} s, limit {restored.limit.seconds:.2f} s"
                )
    return found


def restore_figures(restored: Sequence[Restored]) -> dict[str, float]:
    """Medians of seconds and CPU, ours and the limit's."""
    sides = {"restore": [one.ours for one in restored], "restore_limit": [one.limit for one in restored]}
    return {
        f"{side}_{what}": round(median(getattr(turn, what) for turn in turns), 3)
        for side, turns in sides.items()
        for what in Turn._fields
    }


def restore_table(restored: Sequence[Restored]) -> Table:
    table = Table("restart of all partitions", "records read", "CPU, s (median)", "seconds of each turn")
    records = f"{median(one.records for one in restored):,.0f}"
    sides = [("states restored, cards replayed", [one.ours for one in restored])]
    sides.append(("aiokafka alone, the same records", [one.limit for one in restored]))
    for name, turns in sides:
        seconds = "  ".join(f"{turn.seconds:.2f}" for turn in turns)
        table.add_row(name, records, f"{median(turn.cpu_s for turn in turns):.2f}", seconds)
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--cards", type=positive, default=100_000)
    parser.add_argument("--sources", type=positive, default=1_000)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    log_to_stderr()
    gc.set_threshold(*GARBAGE)  # as a service does
    found = run(measure(given.cards, given.sources, given.repeats, given.seed, Console(stderr=True)))
    rates = {side: given.cards / median(turn.seconds for turn in found[side]) for side in ("ours", "limit")}
    cpu = {side: median(turn.cpu_s for turn in found[side]) / given.cards * 1e6 for side in ("ours", "limit")}
    memory = bytes_a_source(given.sources, max(1, given.cards // given.sources), given.seed)
    table = Table("side", "cards/s (median)", "CPU a card, µs", "seconds of each turn")
    for side, name in (("ours", "aggregator, exactly once"), ("limit", "aiokafka alone, the same bytes")):
        turns = "  ".join(f"{turn.seconds:.2f}" for turn in found[side])
        table.add_row(name, f"{rates[side]:,.0f}", f"{cpu[side]:.0f}", turns)
    Console().print(table)
    restores = restore_figures(found["restored"])
    Console().print(restore_table(found["restored"]))
    Console().print(f"{given.sources} sources in {PARTITIONS} partitions; {memory / 1024:.1f} KiB a source")
    result = {
        "cards": given.cards,
        "sources": given.sources,
        "repeats": given.repeats,
        "aggregator_cards_per_s": round(rates["ours"], 1),
        "limit_cards_per_s": round(rates["limit"], 1),
        "ratio": round(rates["ours"] / rates["limit"], 4),
        "aggregator_cpu_us": round(cpu["ours"], 1),
        "limit_cpu_us": round(cpu["limit"], 1),
        "kib_a_source": round(memory / 1024, 2),
        **restores,
    }
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    program(main)
