"""The engine alone: the project's prompts, engine and parser, as the scorer uses them, without any broker."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from mira_stream.benching.flow import EngineBuilder, Given
from mira_stream.benching.observing import ObservedEngine
from mira_stream.benching.turns import Sampled
from mira_stream.clock import monotonic
from mira_stream.config import Project
from mira_stream.errors import CheckFailed, DocumentError
from mira_stream.messages import encode
from mira_stream.records import Record
from mira_stream.reliability.acceptance import served_modes
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.streaming.metrics import Metrics
from mira_stream.vllm_engine import sharing_cores


class DirectBench:
    """Keeps the promises of `Bench`. At most `in_flight_documents` of a group are asked at once, as in the stream."""

    def __init__(self, project: Project, groups: Sequence[str], given: Sequence[Given], build: EngineBuilder) -> None:
        self.project = project
        self.engines: list[ObservedEngine] = []
        self.outcome: Callable[[bytes, bool], None] = lambda key, dead: None
        self.beside: frozenset[int] = frozenset()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._given = given
        self._factories: dict[str, ScoringFactory] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = project.settings.limits.in_flight_documents
        self._free = dict.fromkeys(groups, self._limit)
        self._queues: dict[str, deque[int]] = {group: deque() for group in groups}
        self._full_since: dict[str, float] = {}
        self._waiting_s = 0.0
        self._turn = self._asked = 0
        metrics, served = Metrics(), sharing_cores(project, groups)
        for group in groups:
            engine = ObservedEngine(build(served_modes(served, group).project, group))
            self.engines.append(engine)
            self._factories[group] = ScoringFactory(project, group, engine, metrics)

    async def start(self) -> None:
        await asyncio.gather(*(engine.start() for engine in self.engines))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(engine.stop() for engine in self.engines))

    async def prepare(self, count: int) -> Sequence[bytes]:
        """As in the stream: documents come again where there are too few, prefix caches are emptied between turns."""
        if not self._given:
            raise CheckFailed("bench_documents", "there is no document to measure with", "give the sources a path")
        for engine in self.engines:
            if self._turn:
                await engine.forget()
        self._turn += 1
        return [f"{self._turn}-{number}".encode() for number in range(count)]

    async def send(self, first: int, last: int) -> None:
        for number in range(first, last):
            self._queues[self._given[number % len(self._given)].group].append(number)
        for group in self._queues:
            self._ask(group)

    def _ask(self, group: str) -> None:
        queue = self._queues[group]
        while queue and self._free[group]:
            self._free[group] -= 1
            self._asked += 1
            if not self._free[group]:
                self._full_since[group] = monotonic()
            task = asyncio.create_task(self._judge(group, queue.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _judge(self, group: str, number: int) -> None:
        factory, key, dead = self._factories[group], f"{self._turn}-{number}", False
        document = self._given[number % len(self._given)].document
        try:
            prepared = factory.prepare(Record("bench", 0, number, 0, None, encode(document)))
            await factory.judged(prepared, key)  # of a cascade both stages: no thresholds are published here
        except DocumentError:
            dead = True
        except Exception as error:
            if not self.failed.done():
                self.failed.set_exception(error)
            return
        self._free[group] += 1
        if group in self._full_since:
            self._waiting_s += monotonic() - self._full_since.pop(group)
        self._ask(group)
        self.outcome(key.encode(), dead)

    def sampled(self) -> Sampled:
        now = monotonic()
        running = sum(now - since for since in self._full_since.values())
        return Sampled((self._waiting_s + running) / len(self._queues), self._asked)
