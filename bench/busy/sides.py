"""The sides: `LLM.generate`, AsyncLLM without a broker, the same in batches that wait for their last, the stream."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mira_stream.consumers.scorer import scorer_settings, tokens_of
from msgspec.structs import replace

from bench.busy.processes import ASYNC_CORE, LLM_CORE, Cpu, Processes, Reading
from bench.busy.sets import Asked, varied
from bench.busy.stopwatch import Stopwatch
from mira_stream.benching.observing import ObservedBroker, ObservedEngine
from mira_stream.config import Project
from mira_stream.kafka import KafkaBroker
from mira_stream.messages import encode
from mira_stream.records import Outgoing, Record
from mira_stream.scoring.engine import Completion, Engine, Request
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.engine import hashed_answer
from mira_stream.vllm_engine import VllmEngine, empty, sampling

if TYPE_CHECKING:
    from vllm import LLM


class Took(NamedTuple):
    """Seconds of one turn, and whose CPU seconds it took. `block_s`: of the stream, how late its event loop came at
    the most to what was due every 20 ms: a block may have been so much longer."""

    seconds: float
    cpu: Cpu
    block_s: float | None = None


class Prompt(NamedTuple):
    """Ready to be asked: what the other sides are spared."""

    ids: list[int]
    request: Request


class Varying(ObservedEngine):
    """The real engine made to talk as long as each request's lot says. What it said is no score card, so the one
    handed on is scripted."""

    async def generate(self, request: Request) -> Completion:
        completion = await super().generate(varied(request))
        return completion._replace(text=hashed_answer(request), finish_reason="stop")


class Sides:
    """All sides over one project and group; each call is one turn from the first document to the last result."""

    def __init__(
        self, project: Project, group: str, bootstrap: str, llm: "LLM", engine: VllmEngine, processes: Processes
    ) -> None:
        """`processes` has names for those of `llm`, `engine` and the broker."""
        self._project = project
        self._group = group
        self._bootstrap = bootstrap
        self._llm = llm
        self._engine = engine
        self._section = project.settings.groups[group]
        self._cpu_of_llm, self._cpu = processes.reading(LLM_CORE), processes.reading(ASYNC_CORE)
        self._turn = 0

    async def forget(self) -> None:
        """Empty the prefix caches. Raises DependencyError(cache_kept)."""
        await empty(partial(asyncio.to_thread, self._llm.reset_prefix_cache))
        await self._engine.reset_prefix_cache()

    def prompts(self, asked: Asked) -> list[Prompt]:
        factory = ScoringFactory(self._project, self._group, self._engine, Metrics())
        found = []
        for at, document in enumerate(asked.documents):
            view = factory.prepare(Record("t", 0, at, 0, None, encode(document))).view
            request = factory.judge.request(view.text, document.id, str(at))
            found.append(Prompt(self._engine.prompt(request.messages), varied(request) if asked.varied else request))
        return found

    async def offline(self, prompts: Sequence[Prompt]) -> Took:
        given = [{"prompt_token_ids": one.ids} for one in prompts]
        params = [sampling(one.request) for one in prompts]
        return await timed(asyncio.to_thread(self._llm.generate, given, params, use_tqdm=False), self._cpu_of_llm)

    async def alone(self, prompts: Sequence[Prompt]) -> Took:
        """As many at once as the stream has in flight."""
        room = asyncio.Semaphore(self._project.settings.limits.in_flight_documents)
        self._turn += 1

        async def one(prompt: Prompt) -> None:
            async with room:
                await self._ask(prompt)

        return await timed(all_of(one(prompt) for prompt in prompts), self._cpu)

    async def batches(self, prompts: Sequence[Prompt]) -> Took:
        """As many at once as the engine has places; the next are asked when the last of them is there."""
        self._turn += 1

        async def one_after_the_other() -> None:
            places = self._section.max_num_seqs
            for at in range(0, len(prompts), places):
                await all_of(self._ask(prompt) for prompt in prompts[at : at + places])

        return await timed(one_after_the_other(), self._cpu)

    async def stream(self, asked: Asked) -> Took:
        self._turn += 1
        engine = Varying(self._engine) if asked.varied else self._engine
        return await streamed(
            self._project, self._group, self._bootstrap, engine, asked, f"busy{self._turn}", self._cpu
        )

    async def _ask(self, prompt: Prompt) -> None:
        request_id = f"{self._turn}-{prompt.request.request_id}"
        async for _ in self._engine.llm.generate(
            {"prompt_token_ids": prompt.ids}, sampling(prompt.request), request_id
        ):
            pass


async def streamed(
    project: Project, group: str, bootstrap: str, engine: Engine, asked: Asked, prefix: str, cpu: Reading
) -> Took:
    """Through topics of this prefix, from the first document begun to the last card committed."""
    project = Project(project.root, replace(project.settings, project=replace(project.settings.project, prefix=prefix)))
    broker = KafkaBroker(project.settings.broker, bootstrap)
    try:
        await broker.create_topics(topic_specs(project), 1)
        await _produce(project, group, broker, asked)
        stop, metrics = asyncio.Event(), Metrics()
        watch = Stopwatch(ScoringFactory(project, group, engine, metrics), len(asked.documents), stop, cpu)
        settings, context = scorer_settings(project, group), project.settings.groups[group].context_tokens_max
        observed = ObservedBroker(broker, watch.committed)
        await Runner(observed, settings, watch, metrics, lambda record: tokens_of(record, context)).run(stop)
    finally:
        await broker.close()
    return Took(watch.seconds, watch.cpu, watch.block_s)


async def _produce(project: Project, group: str, broker: KafkaBroker, asked: Asked) -> None:
    producer = await broker.producer(project.topic("bench"))
    topic, partitions = project.documents_topic(group), project.settings.topics.partitions
    found = enumerate(asked.documents)
    records = [Outgoing(topic, one.id.encode(), encode(one), at % partitions) for at, one in found]
    await producer.commit(records, {}, None)
    await producer.close()


async def all_of(calls: Iterable[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(call)


async def timed(work: Coroutine[None, None, object], cpu: Reading) -> Took:
    began, before = time.perf_counter(), cpu()
    await work
    return Took(time.perf_counter() - began, cpu().since(before))
