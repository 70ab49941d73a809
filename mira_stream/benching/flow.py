"""The whole flow over a broker: documents produced, scored, decided. Scorer and aggregator run in this process, as the
services run them; topics are the bench's own."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Self

from msgspec.structs import replace

from mira_stream.benching.observing import ObservedBroker, ObservedEngine
from mira_stream.benching.turns import Sampled
from mira_stream.cancellation import to_the_end
from mira_stream.config import Project
from mira_stream.demo.prepare import prepare
from mira_stream.errors import CheckFailed
from mira_stream.messages import Document, encode
from mira_stream.records import Outgoing
from mira_stream.scoring.engine import Engine
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker, TransactionalProducer

PREFIX: Final = "mira-bench"
PARTLY: Final = ("partition_span", "broker")
"""Causes of waiting that hold back some partition only."""
STOP_S: Final = 30.0
ID: Final = "bench-id"
"""In place of a document's id, which comes before all of its content, and of which none needs an escape."""
EngineBuilder = Callable[[Project, str], Engine]


class Given(NamedTuple):
    """A document to measure with, and its group."""

    group: str
    document: Document


def own_topics(project: Project) -> Project:
    """The same project under a prefix of the bench's own: nothing of the stream can be touched."""
    return replace(
        project, settings=replace(project.settings, project=replace(project.settings.project, prefix=PREFIX))
    )


class FlowBench:
    """Keeps the promises of `Bench`, from `start` to `close`. An outcome counts once its transaction is committed."""

    def __init__(
        self,
        project: Project,
        groups: Sequence[str],
        given: Sequence[Given],
        build: EngineBuilder,
        beside: frozenset[int] = frozenset(),
    ) -> None:
        self.project = own_topics(project)
        self.groups = list(groups)
        self.engines: list[ObservedEngine] = []
        self.outcome: Callable[[bytes, bool], None] = lambda key, dead: None
        self.services: list[asyncio.Task[None]] = []
        self.beside = beside
        self.warnings: list[str] = []
        self._given = given
        self._build = build
        self._metrics = Metrics()
        self._stop = asyncio.Event()
        self._encoded: list[tuple[bytes, bytes]] = []
        """Of each given document what stands before its id, and behind it."""
        self._turn = 0
        self._producer: TransactionalProducer

    async def start(self, broker: Broker) -> Self:
        from mira_stream.consumers.aggregator import aggregate
        from mira_stream.consumers.scorer import score

        observed = ObservedBroker(broker, self._committed)
        self.warnings = await prepare(broker, self.project)
        self._producer = await broker.producer(self.project.topic("produce"))
        scoring = score(self.project, observed, self.groups, self._metrics, self._stop, self._engine)
        deciding = aggregate(self.project, observed, self._metrics, self._stop)
        self.services = [asyncio.create_task(scoring), asyncio.create_task(deciding)]
        return self

    async def close(self, patience_s: float = STOP_S) -> None:
        """Stops the services, in order as far as that takes no longer and nobody cancels it; their errors are those of
        the turn that was cut short."""
        self._stop.set()
        if self.services:
            try:
                await asyncio.wait(self.services, timeout=patience_s)
            finally:
                await to_the_end(self._ended())

    async def _ended(self) -> None:
        for task in self.services:
            task.cancel()
        await asyncio.gather(*self.services, return_exceptions=True)
        await self._producer.close()

    def _engine(self, project: Project, group: str) -> Engine:
        engine = ObservedEngine(self._build(project, group))
        self.engines.append(engine)
        return engine

    def _committed(self, records: Sequence[Outgoing]) -> None:
        decided, dead = self.project.topic("decisions"), self.project.topic("dead-letters")
        for record in records:
            if record.topic in (decided, dead) and record.key is not None:
                self.outcome(record.key, record.topic == dead)

    async def prepare(self, count: int) -> Sequence[bytes]:
        """Ids are new in every turn; where there are fewer documents than `count` they come again. Prefix caches are
        emptied, so that no turn lives on the one before."""
        if not self._given:
            raise CheckFailed("bench_documents", "there is no document to measure with", "give the sources a path")
        for engine in self.engines:
            if self._turn:
                await engine.forget()
        self._turn += 1
        if not self._encoded:
            self._encoded = [_around_id(one.document) for one in self._given]
        return [self._key(number) for number in range(count)]

    def _key(self, number: int) -> bytes:
        return f"{self._turn}-{number}".encode()

    async def send(self, first: int, last: int) -> None:
        await self._producer.commit([self._record(number) for number in range(first, last)], {}, None)

    def _record(self, number: int) -> Outgoing:
        """Made when it is sent: however many a turn has, what is encoded beforehand are the documents given."""
        place, key = number % len(self._given), self._key(number)
        before, behind = self._encoded[place]
        topic = self.project.documents_topic(self._given[place].group)
        return Outgoing(topic, key, before + key + behind, number % self.project.settings.topics.partitions)

    def sampled(self) -> Sampled:
        waiting = read = 0.0
        for family in self._metrics.registry.collect():
            for sample in family.samples:
                if not sample.labels.get("stage", "").startswith("score."):
                    continue
                if sample.name == "mira_backpressure_seconds_total" and sample.labels.get("cause") not in PARTLY:
                    waiting += sample.value
                elif sample.name == "mira_records_in_total":
                    read += sample.value
        return Sampled(waiting / len(self.groups), int(read))


def _around_id(document: Document) -> tuple[bytes, bytes]:
    before, _, behind = encode(replace(document, id=ID)).partition(ID.encode())
    return before, behind
