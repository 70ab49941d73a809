"""One small stream on the shared Kafka: a project of its own prefix, its topics, its documents, its services."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiokafka
import msgspec
import orjson
from aiokafka.admin import AIOKafkaAdminClient
from msgspec import Struct
from msgspec.structs import replace

from mira_stream.audit.run import audit
from mira_stream.config import Project, load_project
from mira_stream.kafka import KafkaBroker
from mira_stream.kafka.transactions import Transactions
from mira_stream.parquet import read_columns
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.publish import publish
from mira_stream.streaming.topics import topic_specs
from tests.faults import engines
from tests.faults.engines import EngineSettings
from tests.faults.kafka import Kafka
from tests.faults.services import PATIENCE_S, Service
from tests.faults.witness import Witness, bounds, counted, end_of, read_all
from tests.settled import settle

TOML: Final = """
[project]
prefix = "{prefix}"
[broker]
session_timeout_ms = {timeouts.session_ms}
request_timeout_ms = {timeouts.request_ms}
transaction_timeout_ms = {timeouts.transaction_ms}
[topics]
partitions = {partitions}
[limits]
in_flight_documents = 32
transaction_records = 40
transaction_linger_s = 0.1
checkpoint_cards = 300
"""
GROUP: Final = """
[groups.{name}]
family = "text"
engine = "openai"
base_urls = ["{url}"]
model = "scripted"
context_tokens_max = 1000000
{more}
[sources.{name}-a]
group = "{name}"
[sources.{name}-b]
group = "{name}"
retention = 0.3
"""
NO_URL: Final = "http://127.0.0.1:9/v1"
FEED_BATCH: Final = 500
TOP_UP: Final = 1_000


class Timeouts(Struct, frozen=True, kw_only=True):
    """Of a stream's services. The short ones are for faults that wait until somebody is missed."""

    session_ms: int = 4_000
    request_ms: int = 6_000
    transaction_ms: int = 8_000


SHORT: Final = Timeouts()
CALM: Final = Timeouts(session_ms=120_000, request_ms=120_000, transaction_ms=120_000)
"""Nobody is missed, and nothing given up, because the machine stood still."""


class Counts(Struct, frozen=True, kw_only=True):
    """What became of a stream's documents, counted by origin from the topics; what is wrong with it in words."""

    documents: int
    decisions: int
    dead_letters: int
    lost: int
    duplicated: int
    wrong: list[str]


class Stream:
    """Everything of one fault. `servers` is how its services reach the broker."""

    def __init__(self, kafka: Kafka, project: Project, servers: str) -> None:
        self.kafka, self.project, self.servers = kafka, project, servers
        self._patient = replace(project.settings.broker, request_timeout_ms=CALM.request_ms)
        self.broker = KafkaBroker(self._patient, kafka.servers)
        ends = [project.topic("decisions"), project.topic("dead-letters")]
        self.witness = Witness(kafka.servers, ends, project.settings.topics.partitions)
        self.services: list[Service] = []
        self.fed = 0
        self.deleted: set[tuple[str, int, int]] = set()
        """Origins of documents that the fault itself took out of the log, whether they had ended before or not."""

    @classmethod
    async def create(
        cls,
        kafka: Kafka,
        root: Path,
        prefix: str,
        *,
        groups: Sequence[str] = ("text",),
        partitions: int = 4,
        more: str = "",
        group_more: str = "",
        url: str = NO_URL,
        servers: str | None = None,
        timeouts: Timeouts = SHORT,
    ) -> "Stream":
        root.mkdir(parents=True)
        toml = TOML.format(prefix=prefix, partitions=partitions, timeouts=timeouts) + more
        toml += "".join(GROUP.format(name=name, url=url, more=group_more) for name in groups)
        (root / "mira.toml").write_text(toml)
        for group in groups:
            _write_rubric(root, group)
        (root / "logs").mkdir()
        stream = cls(kafka, load_project(root, {}), servers or kafka.servers)
        await stream.broker.create_topics(topic_specs(stream.project), 1)
        await publish(stream.broker, stream.project, lineage, read_columns)
        await stream.witness.start()
        return stream

    # -- documents --

    async def feed(
        self,
        count: int,
        text: Callable[[int], str] = lambda number: f"Note number {number} says something worth reading.",
        *,
        groups: Sequence[str] = ("text",),
        **fields: Any,
    ) -> None:
        """Append `count` documents, sources and groups in turn."""
        rows = []
        for number in range(self.fed, self.fed + count):
            group = groups[number % len(groups)]
            document = {"schema": "document.v1", "id": f"d{number}", "text": text(number)}
            document |= {"source": f"{group}-{'ab'[number // len(groups) % 2]}"} | fields
            rows.append((self.project.documents_topic(group), f"d{number}".encode(), orjson.dumps(document)))
        await self.append(rows)

    async def append(
        self,
        rows: Sequence[tuple[str, bytes | None, bytes | None]],
        timestamp_ms: Callable[[int], int | None] = lambda number: None,
        most_bytes: int = 17 * 2**20,
    ) -> None:
        """Append (topic, key, value) as they are, by a producer of the suite's own."""
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.kafka.servers, acks="all", enable_idempotence=True, max_request_size=most_bytes
        )
        await producer.start()
        try:
            for start in range(0, len(rows), FEED_BATCH):
                batch = rows[start : start + FEED_BATCH]
                sent = [
                    await producer.send(topic, value, key, timestamp_ms=timestamp_ms(start + number))
                    for number, (topic, key, value) in enumerate(batch)
                ]
                await asyncio.gather(*sent)
        finally:
            await producer.stop()
        self.fed += len(rows)

    async def committed(self, consumer_group: str, topic: str) -> dict[int, int]:
        """Committed offsets of a consumer group by partition of a topic."""
        reader = await self.broker.reader()
        try:
            found = await self.broker.committed(consumer_group, await reader.partitions(topic))
        finally:
            await reader.close()
        return {at.partition: offset for at, offset in found.items()}

    # -- services --

    def start(
        self,
        name: str,
        *arguments: str,
        engine: EngineSettings | None = None,
        environment: Mapping[str, str] | None = None,
        own_broker: bool = False,
    ) -> Service:
        """Start one service process; `engine` None: the one that mira.toml names. `own_broker`: not on ours."""
        command = [name, "--project", str(self.project.root)]
        command += [*arguments] if own_broker else ["--bootstrap-servers", self.servers, *arguments]
        variables = dict(environment or {})
        if engine is not None:
            variables[engines.VARIABLE] = msgspec.json.encode(engine).decode()
        log = self.project.root / "logs" / f"{len(self.services)}-{name}.log"
        self.services.append(Service(command, log, variables))
        return self.services[-1]

    async def until_seen(self, count: int, timeout_s: float = 120.0) -> bool:
        """Until the witness has seen so many ends; False if none comes for `timeout_s`, or nobody is left to make
        them."""
        seen, deadline = -1, 0.0
        while not await self.witness.until(count, min(2.0, timeout_s)):
            if len(self.witness.seen) > seen:
                seen, deadline = len(self.witness.seen), time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                return False
            alive = {service.name for service in self.services if service.exit_code is None}
            if not {"score", "aggregate"} <= alive and not await self.witness.until(count, 30.0):
                return False
        return True

    async def until_more(self, count: int, timeout_s: float = 120.0) -> bool:
        """Until so many more ends were seen than now; where too few documents wait for theirs, more are fed."""
        seen = len(self.witness.seen)
        if self.fed - seen < count + TOP_UP:
            await self.feed(TOP_UP)
        return await self.until_seen(seen + count, timeout_s)

    async def until_struck(self, struck: asyncio.Event, timeout_s: float = PATIENCE_S) -> bool:
        """Until a fault has struck, while documents never run out; False if it does not."""
        deadline = time.monotonic() + timeout_s
        while not struck.is_set() and time.monotonic() < deadline:
            if self.fed - len(self.witness.seen) < TOP_UP:
                await self.feed(TOP_UP)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(struck.wait(), 1.0)
        return struck.is_set()

    async def stop_services(self) -> None:
        for service in self.services:
            service.send(signal.SIGCONT)
            service.send(signal.SIGTERM)
        for service in self.services:
            if await service.wait(PATIENCE_S) is None:
                await service.kill()

    # -- the end --

    async def count(self, *, audited: bool = True) -> Counts:
        """Count by origin what the topics hold, beside what the witness saw, and let the product's audit agree."""
        wrong: list[str] = []
        topics = await self.topics()
        wrong += await self.unstable(topics)
        await self._settled(topics)
        kept = {name: topics[name] for name in topics if ".documents." in name}
        documents = {(r.topic, r.partition, r.offset) for r in await read_all(self.kafka.servers, kept)}
        ends_topics = {self.project.topic(name): topics[self.project.topic(name)] for name in _ENDS}
        ends = [end_of(record) for record in await read_all(self.kafka.servers, ends_topics)]
        await self.witness.until(len(ends), PATIENCE_S)
        by_origin = counted(ends)
        if Counter(self.witness.seen) != Counter(ends):
            wrong.append(f"a reader beside the fault saw {len(self.witness.seen)} ends, {len(ends)} are there")
        if not self.witness.is_in_order():
            wrong.append("a reader beside the fault saw offsets go back")
        if strangers := by_origin.keys() - documents - self.deleted:
            wrong.append(f"{len(strangers)} ends of no document, {next(iter(strangers))}")
        if audited:
            result = await audit(self.project, self.broker, None)
            if not result.ok or result.waiting:
                wrong.append(result.line())
        decisions = sum(end.topic == self.project.topic("decisions") for end in ends)
        return Counts(
            documents=len(documents),
            decisions=decisions,
            dead_letters=len(ends) - decisions,
            lost=len(documents - set(by_origin)),
            duplicated=sum(number - 1 for number in by_origin.values()),
            wrong=wrong,
        )

    async def _settled(self, topics: Mapping[str, int]) -> None:
        """Until committed offsets can be asked for: they have markers of their own."""
        owned = {self.project.documents_topic(name): f"scorer.{name}" for name in self.project.settings.groups}
        owned[self.project.topic("scores")] = "aggregator"
        for topic, stage in owned.items():
            for number in range(topics.get(topic, 0)):
                await settle(self.broker, f"{self.project.consumer_group(stage)}.{topic}.{number}")

    async def topics(self) -> dict[str, int]:
        """The stream's topics and their numbers of partitions, asked of the broker."""
        reader = await self.broker.reader()
        try:
            names = [spec.name for spec in topic_specs(self.project)]
            found = {name: len(await reader.partitions(name)) for name in names}
        finally:
            await reader.close()
        return {name: number for name, number in found.items() if number}

    async def unstable(self, topics: Mapping[str, int]) -> list[str]:
        """Partitions whose last stable offset is not their high watermark: a transaction was left open. Not that of
        one whose end is asked for: its markers are written after that is acknowledged; nor that of a process that
        was killed, as long as the broker has yet to time it out."""
        in_order = all(service.exit_code == 0 for service in self.services)
        deadline = time.monotonic() + PATIENCE_S
        async with Transactions(self._patient, self.kafka.servers) as asked:
            while True:
                seen = await asked.look(list(topics))
                states = {known.state for known in seen.known.values()}
                high = await bounds(self.kafka.servers, topics, "read_uncommitted")
                stable = await bounds(self.kafka.servers, topics)
                found = [name for name in high if stable[name] != high[name]]
                if not found or (in_order and "Ongoing" in states) or time.monotonic() > deadline:
                    return [f"{name}: LSO {stable[name][1]}, high watermark {high[name][1]}" for name in found]

    async def close(self) -> None:
        """End what still runs and delete the topics."""
        for service in self.services:
            await service.kill()
        await self.witness.close()
        await self.broker.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.servers)
        await admin.start()
        try:
            await admin.delete_topics([spec.name for spec in topic_specs(self.project)])
        finally:
            await admin.close()


_ENDS: Final = ("decisions", "dead-letters")


def _write_rubric(root: Path, group: str) -> None:
    """A rubric without meaning and the shortest prompt."""
    (root / "rubrics").mkdir(exist_ok=True)
    header = {"schema": "rubric.v1", "group": group, "teacher": "scripted", "created_by": "faults"}
    example = {"score": 5, "reason": "r"}
    anchors = [
        {"schema": "anchor.v1", "slot": f"A{n}", "name": f"Dimension {n}", "description": "d", "examples": [example]}
        for n in range(1, 16)
    ]
    (root / "rubrics" / f"{group}.jsonl").write_bytes(b"\n".join(orjson.dumps(line) for line in [header, *anchors]))
    prompts = root / "prompts" / group
    prompts.mkdir(parents=True)
    (prompts / "system.txt").write_text("${calibration}")
    (prompts / "user.txt").write_text("${dimensions}\n${document}")
