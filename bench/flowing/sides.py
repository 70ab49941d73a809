"""The sides. Each runs until it is told to stop, and tells the meter what it has committed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from mira_stream.consumers.aggregator import IN_FLIGHT, TRANSACTIONS
from mira_stream.consumers.scorer import score, scorer_settings, tokens_of
from mira_stream.producers.files import Produced, produce

from bench.flowing.alone import copy
from bench.flowing.job import GROUP, SOURCE, Job, Name
from bench.flowing.meter import Meter, MeteredBroker
from bench.flowing.sending import run_limit, run_loop
from bench.flowing.stateless import Stateless
from mira_stream.config import Project
from mira_stream.kafka import KafkaBroker
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.render import Offsets
from mira_stream.scoring.engine import Completion, Engine, Request
from mira_stream.scoring.tokenizer import StudentTokenizer
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.settings import RunnerSettings
from mira_stream.testing.engine import ScriptedEngine
from mira_stream.vllm_engine.prompts import ChatPrompts

RESULT: Final = b"y" * 500
Side = Callable[[Job, Meter, asyncio.Event], Coroutine[Any, Any, None]]


def _prompts_of(student: Path, tokenizer: StudentTokenizer) -> ChatPrompts:
    from transformers import AutoTokenizer  # slow to import, and torch, which it loads, leaves a cache folder

    return ChatPrompts(AutoTokenizer.from_pretrained(student), tokenizer)


class CannedEngine(ScriptedEngine):
    """No model: scores from a hash of the document after `reply_s`. It has the student's tokenizer, with which views
    are cut. With `prompts` it makes each prompt's tokens, as an engine in the scorer's process does; without it makes
    none, as one behind HTTP, whose requests it does not send either."""

    def __init__(self, reply_s: float, tokenizer: StudentTokenizer, prompts: ChatPrompts | None) -> None:
        super().__init__()
        self._reply_s = reply_s
        self._tokenizer = tokenizer
        self._prompts = prompts

    async def generate(self, request: Request) -> Completion:
        tokens = 0 if self._prompts is None else len(self._prompts.ids(request.messages, request.view))
        await asyncio.sleep(self._reply_s)
        return Completion(self.answer(request), "stop", tokens, 0)

    def tokenize(self, text: str) -> Offsets:
        return self._tokenizer.tokenize(text)

    @property
    def tokens_basis(self) -> str:
        return self._tokenizer.basis

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return self._tokenizer.special_tokens


class Answering(Stateless):
    """The handler of sides without a scorer: a document waits, as for an engine, and one record is made of it."""

    def __init__(self, job: Job, topic: str, meter: Meter, partition: TopicPartition) -> None:
        self._job = job
        self._topic = topic
        self._meter = meter
        self._partition = partition.partition

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        job = self._job
        value = record.value or b""
        self._meter.bytes_delivered += len(value) + len(record.key or b"")
        if job.name == "pass":
            return (Outgoing(self._topic, record.key, value, self._partition),)
        is_stuck = job.stuck_every and record.offset % job.stuck_every == 0
        await asyncio.sleep(job.stuck_s if is_stuck else job.reply_s)
        return (Outgoing(self._topic, record.key, RESULT, self._partition),)


def pass_settings(project: Project) -> RunnerSettings:
    """As the aggregator runs: one record after the other, results in order."""
    limits = project.settings.limits
    return RunnerSettings(
        stage="pass", consumer_group=project.consumer_group("pass"), topics=(project.documents_topic(GROUP),),
        concurrent=False, limit=IN_FLIGHT, partition_span=2 * IN_FLIGHT.documents,
        transaction_records=TRANSACTIONS * limits.transaction_records,
        transaction_linger_s=limits.transaction_linger_s, drain_s=limits.drain_s, start="earliest",
    )  # fmt: skip


@asynccontextmanager
async def kafka_of(job: Job, project: Project) -> AsyncIterator[KafkaBroker]:
    broker = KafkaBroker(project.settings.broker, job.bootstrap)
    try:
        yield broker
    finally:
        await broker.close()


async def run_runner(job: Job, meter: Meter, stop: asyncio.Event) -> None:
    """`pass` and `flow`: the runner as it is, without a scorer."""
    project, metrics = job.project(), Metrics()
    settings = pass_settings(project) if job.name == "pass" else scorer_settings(project, GROUP)
    tokens = partial(tokens_of, context_tokens=project.settings.groups[GROUP].context_tokens_max)

    def handler(partition: TopicPartition, reader: LogReader) -> Answering:
        return Answering(job, project.topic("scores"), meter, partition)

    async with kafka_of(job, project) as broker:
        metered = MeteredBroker(broker, meter)
        await Runner(metered, settings, handler, metrics, tokens_of=tokens).run(stop)


async def run_scorer(job: Job, meter: Meter, stop: asyncio.Event) -> None:
    """The whole scorer as a service runs it, but for its engine's model (`scored`), or for its engine altogether."""
    project = job.project()
    student = project.student_path(GROUP)
    tokenizer = StudentTokenizer(student)
    prompts = _prompts_of(student, tokenizer) if job.name == "scored" else None

    def engine_for(served: Project, group: str) -> Engine:
        return CannedEngine(job.reply_s, tokenizer, prompts)

    async with kafka_of(job, project) as broker:
        await score(project, MeteredBroker(broker, meter), [GROUP], Metrics(), stop, engine_for)


async def run_aiokafka(job: Job, meter: Meter, stop: asyncio.Event) -> None:
    """The limit: aiokafka alone."""
    project = job.project()
    records = TRANSACTIONS * project.settings.limits.transaction_records
    source, to, group = project.documents_topic(GROUP), project.topic("scores"), project.consumer_group("aiokafka")
    await copy(job.bootstrap, source, to, group, records, meter.begin, meter.add, stop)


async def run_produce(job: Job, meter: Meter, stop: asyncio.Event) -> None:
    """`produce` of a file."""
    project = job.project()

    def told(source: str, produced: Produced) -> None:
        if not produced.new:
            meter.begin()  # opened; later it would leave out what the first transaction took
        meter.add(produced.new - meter.documents)

    async with kafka_of(job, project) as broker:
        await produce(broker, project, {SOURCE: project.settings.sources[SOURCE]}, told)


SIDES: Final[dict[Name, Side]] = {
    "aiokafka": run_aiokafka,
    "pass": run_runner,
    "flow": run_runner,
    "scored": run_scorer,
    "scored-http": run_scorer,
    "produce": run_produce,
    "sends": run_limit,
    "sends-singly": run_loop,
}
