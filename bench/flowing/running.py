"""From a job to its turns: documents are written, programs started, and their end awaited."""

import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench.command import DEMO_PROJECT
from bench.flowing.job import GROUP, SOURCE, Job, Turn, topics_of
from bench.peering.processes import Program
from mira_stream.kafka import KafkaBroker
from mira_stream.messages import Document, encode
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.ports import Broker

PROGRAM: Final = Path(__file__).parent / "program.py"
TEXT_CHARACTERS: Final = 900
"""Makes a document of 1 kB."""
STRIDE: Final = 997
WRITTEN_AT_ONCE: Final = 5_000


def texts(documents: int) -> Iterator[str]:
    """Pieces of this project's own documentation, each another one."""
    whole = (DEMO_PROJECT.parents[2] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for number in range(documents):
        at = number * STRIDE % (len(whole) - TEXT_CHARACTERS)
        yield whole[at : at + TEXT_CHARACTERS]


class Flows:
    """Runs jobs one after the other; each has topics and a folder of its own."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, limit_s: float) -> None:
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._folder = folder
        self._limit_s = limit_s
        self._turn = 0

    def job(self, name: str, documents: int, **more: object) -> Job:
        self._turn += 1
        given = {"name": name, "bootstrap": self._bootstrap, "prefix": f"{self._prefix}.{self._turn}"}
        return msgspec.convert({**given, "documents": documents, **more}, Job)

    async def prepare(self, job: Job) -> None:
        """Creates the job's topics; without a file to produce its documents are written, too."""
        project = job.project()
        broker = KafkaBroker(project.settings.broker, job.bootstrap)
        await broker.create_topics(topics_of(project), 1)
        if not job.path:
            await _write(broker, project.documents_topic(GROUP), project.settings.topics.partitions, job.documents)
        await broker.close()

    async def run(self, job: Job) -> Turn:
        """One program, until it has done all of them. Raises RuntimeError if it does not."""
        await self.prepare(job)
        program = self._program(job, "0")
        async with program:
            status = await program.wait(self._limit_s)
        if status != 0:
            raise RuntimeError(f"{job.name}, status {status}: {program.last_words()}")
        turn = _turn(program)
        if turn.documents != job.documents:
            raise RuntimeError(f"{job.name}: {turn.documents} results of {job.documents} documents")
        return turn

    async def run_members(self, job: Job, members: int) -> list[Turn]:
        """So many programs in one consumer group, until the group has committed all documents, which are written once
        each of them is a member. Raises RuntimeError."""
        project = job.project()
        topic = project.documents_topic(GROUP)
        broker = KafkaBroker(project.settings.broker, job.bootstrap)
        await broker.create_topics(topics_of(project), 1)
        programs = [self._program(job, str(number)) for number in range(members)]
        async with AsyncExitStack() as stack:
            stack.push_async_callback(broker.close)
            for program in programs:
                await stack.enter_async_context(program)
            await self._joined(programs, project.settings.topics.partitions)
            await _write(broker, topic, project.settings.topics.partitions, job.documents)
            await self._all_committed(broker, project.consumer_group(f"scorer.{GROUP}"), topic, programs[0])
            for program in programs:
                await program.end(signal.SIGTERM)
            return [_turn(program) for program in programs]

    def _program(self, job: Job, name: str) -> Program:
        return Program(Path(sys.executable), PROGRAM, self._folder / job.prefix / name, msgspec.to_builtins(job))

    async def _joined(self, programs: list[Program], partitions: int) -> None:
        """Until the members' logs say that the partitions are dealt out evenly."""
        share = partitions // len(programs)

        async def dealt() -> bool:
            return all(_dealt(program) == share for program in programs)

        if not await programs[0].until(dealt, self._limit_s):
            raise RuntimeError(f"the partitions were not dealt out: {[_dealt(program) for program in programs]}")

    async def _all_committed(self, broker: Broker, group: str, topic: str, program: Program) -> None:
        reader = await broker.reader()
        bounds = await reader.bounds(await reader.partitions(topic))
        await reader.close()
        # The marker of the last transaction is an offset, too, and nobody has to commit it.
        wanted: dict[TopicPartition, int] = {partition: end - 1 for partition, (_, end) in bounds.items()}

        async def done() -> bool:
            reached = await broker.committed(group, wanted)
            return all(reached.get(partition, 0) >= end for partition, end in wanted.items())

        if not await program.until(done, self._limit_s):
            raise RuntimeError(f"not all was committed: {program.last_words()}")


def _turn(program: Program) -> Turn:
    return msgspec.json.decode((program.folder / "turn.json").read_bytes(), type=Turn)


def _dealt(program: Program) -> int | None:
    """How many partitions a member was given last, by its log."""
    lines = [line for line in (program.folder / "log.txt").read_text().splitlines() if "event=assigned" in line]
    return lines[-1].partition("given_away")[0].count(f".{GROUP}/") if lines else None


async def _write(broker: Broker, topic: str, partitions: int, documents: int) -> None:
    producer = await broker.producer(f"write.{topic}")
    outgoing: list[Outgoing] = []
    for number, text in enumerate(texts(documents)):
        value = encode(Document(id=f"{number:09}", source=SOURCE, text=text))
        outgoing.append(Outgoing(topic, b"%09d" % number, value, number % partitions))
        if len(outgoing) == WRITTEN_AT_ONCE:
            await producer.commit(outgoing, {}, None)
            outgoing = []
    if outgoing:
        await producer.commit(outgoing, {}, None)
    await producer.close()
    await (await broker.producer(f"write.{topic}")).close()  # until all of it can be read


def write_files(folder: Path, documents: int) -> dict[str, Path]:
    """The same documents as Parquet and as JSONL."""
    rows = [{"id": f"{number:09}", "text": text} for number, text in enumerate(texts(documents))]
    paths = {"parquet": folder / "documents.parquet", "jsonl": folder / "documents.jsonl"}
    pq.write_table(pa.Table.from_pylist(rows), paths["parquet"])
    paths["jsonl"].write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return paths
