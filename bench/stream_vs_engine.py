"""What does the stream cost? Documents/s through Kafka, exactly once, beside `vllm.LLM.generate` on the same prompts.

One source group of the demo project, the same engine arguments and KV space on both sides, engine start excluded.
The stream's clock runs from the first admitted document to the last committed score card. The two take turns, the
prefix caches are emptied before each turn, the median of the repeats counts. Prints a table; the last line is one
JSON object with `ratio` = stream / offline.

    python bench/stream_vs_engine.py --documents 300 --repeats 3 --group text
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import orjson
import uvloop
from mira_stream.consumers.scorer import build_engine, scorer_settings, tokens_of
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from mira_stream.benching.observing import ObservedBroker
from mira_stream.broker_local import embedded
from mira_stream.chance import is_heldout
from mira_stream.config import Project, load_project
from mira_stream.demo.corpora import documents
from mira_stream.kafka import KafkaBroker
from mira_stream.messages import Document, encode
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Handler
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.service import log_to_stderr
from mira_stream.streaming.topics import topic_specs
from mira_stream.vllm_engine import VllmEngine, engine_arguments, sampling

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams

DEMO_PROJECT = Path(__file__).parent.parent / "mira_stream" / "demo" / "project"


class Stopwatch:
    """Wraps handlers and is told of transactions: the first document handled, and the commit of the last outcome."""

    def __init__(self, factory: ScoringFactory, documents: int, stop: asyncio.Event) -> None:
        self._factory, self._left, self._stop = factory, documents, stop
        self._outcomes = {factory.project.topic(name) for name in ("scores", "dead-letters")}
        self.first = self.last = 0.0

    def __call__(self, partition: TopicPartition, reader: LogReader) -> Handler:
        return _Timed(self._factory(partition, reader), self)

    def handled(self) -> None:
        self.first = self.first or time.perf_counter()

    def committed(self, records: Sequence[Outgoing]) -> None:
        self._left -= sum(record.topic in self._outcomes for record in records)
        if self._left == 0:
            self.last = time.perf_counter()
            self._stop.set()

    @property
    def seconds(self) -> float:
        return self.last - self.first


class _Timed:
    def __init__(self, inner: Handler, watch: Stopwatch) -> None:
        self._inner, self._watch = inner, watch
        self.open, self.seal, self.committed, self.close = inner.open, inner.seal, inner.committed, inner.close

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        self._watch.handled()
        return await self._inner.handle(record)


async def stream_once(project: Project, group: str, engine: VllmEngine, bootstrap: str, found: list[Document]) -> float:
    """Seconds from the first admitted document to the last committed score card."""
    broker = KafkaBroker(project.settings.broker, bootstrap)
    try:
        await broker.create_topics(topic_specs(project), 1)
        producer = await broker.producer(project.topic("bench"))
        topic, partitions = project.documents_topic(group), project.settings.topics.partitions
        outgoing = [Outgoing(topic, one.id.encode(), encode(one), at % partitions) for at, one in enumerate(found)]
        await producer.commit(outgoing, {}, None)
        await producer.close()
        stop, metrics = asyncio.Event(), Metrics()
        watch = Stopwatch(ScoringFactory(project, group, engine, metrics), len(found), stop)
        context = project.settings.groups[group].context_tokens_max
        settings = scorer_settings(project, group)
        observed = ObservedBroker(broker, watch.committed)
        await Runner(observed, settings, watch, metrics, tokens_of=lambda record: tokens_of(record, context)).run(stop)
    finally:
        await broker.close()
    return watch.seconds


def offline_once(llm: "LLM", prompts: list[list[int]], params: "SamplingParams") -> float:
    started = time.perf_counter()
    llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
    return time.perf_counter() - started


async def measure(project: Project, group: str, count: int, repeats: int, console: Console) -> dict[str, list[float]]:
    """Seconds of every turn, by side."""
    from vllm import LLM

    sources = [name for name, source in project.settings.sources.items() if source.group == group]
    found = [one for name in sources for one in documents(name, count // len(sources), is_heldout)]
    console.print(f"{len(found)} held-out documents of {', '.join(sources)}; starting two engines")
    engine = build_engine(project, group)
    assert isinstance(engine, VllmEngine)
    await engine.start()
    factory = ScoringFactory(project, group, engine, Metrics())
    prepared = [factory.prepare(Record("t", 0, at, 0, None, encode(one))) for at, one in enumerate(found)]
    requests = [factory.judge.request(one.view.text, one.document.id, str(at)) for at, one in enumerate(prepared)]
    prompts = [engine.prompt(request.messages) for request in requests]
    llm = await asyncio.to_thread(LLM, **engine_arguments(project.student_path(group), project.settings.groups[group]))
    seconds: dict[str, list[float]] = {"offline": [], "stream": []}
    with tempfile.TemporaryDirectory() as folder:
        async with embedded(Path(folder)) as bootstrap:
            for turn in range(repeats + 1):
                llm.reset_prefix_cache()
                offline = await asyncio.to_thread(offline_once, llm, prompts, sampling(requests[0]))
                await engine.reset_prefix_cache()
                renamed = replace(project.settings, project=replace(project.settings.project, prefix=f"bench{turn}"))
                stream = await stream_once(Project(project.root, renamed), group, engine, bootstrap, found)
                remark = "" if turn else " (warm-up, not counted)"
                console.print(f"turn {turn}: offline {offline:.2f} s, stream {stream:.2f} s{remark}")
                if turn:
                    seconds["offline"].append(offline)
                    seconds["stream"].append(stream)
    await engine.stop()
    seconds["documents"] = [float(len(found))]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--group", default="text")
    parser.add_argument("--project", type=Path, default=DEMO_PROJECT)
    arguments = parser.parse_args()
    console = Console(stderr=True)
    log_to_stderr()
    project = load_project(arguments.project)
    seconds = uvloop.run(measure(project, arguments.group, arguments.documents, arguments.repeats, console))
    count = seconds.pop("documents")[0]
    rates = {side: count / median(values) for side, values in seconds.items()}
    table = Table("side", "documents/s (median)", "seconds of each turn")
    for side, values in seconds.items():
        table.add_row(side, f"{rates[side]:.2f}", "  ".join(f"{value:.2f}" for value in values))
    Console().print(table)
    result = {
        "group": arguments.group,
        "documents": int(count),
        "repeats": arguments.repeats,
        "stream_documents_per_s": round(rates["stream"], 3),
        "offline_documents_per_s": round(rates["offline"], 3),
        "ratio": round(rates["stream"] / rates["offline"], 4),
    }
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    main()
