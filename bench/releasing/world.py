"""Documents of 50 ms: what happened to each, and what a turn took."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.settings import RunnerSettings

VALUE, RESULT = b"x" * 1_000, b"y" * 500


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

    async def work(self, record: Record) -> None:
        """What a document takes."""
        is_stuck = self.stuck_s and record.partition == record.offset == 0
        await asyncio.sleep(self.stuck_s if is_stuck else self.document_s)

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
        await world.work(record)
        return (Outgoing("results", record.key, RESULT, self._partition),)

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        return ()

    async def committed(self) -> None: ...

    async def close(self) -> None: ...
