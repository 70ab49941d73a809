"""How many documents a second does `produce http` take, one document a request, and what bounds it?

Clients post one document, wait for the 202, and post the next. On the embedded Kafka, in turns:

  gathering     `produce http` that waits a moment after each commit for those whom it answered (it does for up to 16)
  no gathering  the same without that wait
  transactions  the limit: transactions of as many documents as there are clients, one after another, no HTTP at all

All clients are one process beside the server's. A turn is loaded for `--seconds`; its rate is over the seconds from the
first request to the last answer. Sides take turns in an order that has each follow each other one equally often over
six rounds. Prints a table; the last line is one JSON object.

    python bench/posting.py --clients 1 8 32 128 --seconds 5 --repeats 5
"""

import asyncio
import sys
import tempfile
import time
from argparse import SUPPRESS
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import orjson
from mira_stream.producers.http import HttpProducer, Limits
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command.arguments import Parser, at_least, positive
from bench.command.ending import program, run
from bench.command.last_line import last_line
from mira_stream.benching.alternating import order
from mira_stream.benching.turns import beside
from mira_stream.broker_local import embedded
from mira_stream.cli.bench_tables import NARROW
from mira_stream.config import Project, Settings
from mira_stream.errors import DependencyError
from mira_stream.http import guarded, serve
from mira_stream.kafka import KafkaBroker
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.sections import BrokerSection, GroupSection, SourceSection
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.ports import TransactionalProducer
from mira_stream.streaming.topics import topic_specs

TEXT = "some words of a note " * 40
HEAD = b"POST /v1/documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
SECONDS_MIN = 0.5
SIDES = ("gathering", "no gathering", "transactions")
ANSWER_S = 120.0
"""A slow answer counts as slow: nobody is sent away for it."""
LEAST = 2
"""Answers have quantiles from so many on: a short turn on a busy machine lasts until they are there."""


class Posted(NamedTuple):
    """What each answer took, and from the first request to the last answer of all clients."""

    times: list[float]
    seconds: float


class Turn(NamedTuple):
    rate: float
    a_transaction: float
    p50_ms: float
    p99_ms: float


Side = Callable[[int, str], Awaitable[Turn]]
"""A turn with so many clients, under a name that no other turn has."""


class CountingBroker(ForwardingBroker):
    """`sizes`: documents of each transaction."""

    sizes: list[int]

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        return CountingProducer(await super().producer(transactional_id), self.sizes)


class CountingProducer:
    def __init__(self, inner: TransactionalProducer, sizes: list[int]) -> None:
        self._inner, self._sizes = inner, sizes

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        await self._inner.commit(records, offsets, consumer_group)
        self._sizes.append(len(records))

    async def close(self) -> None:
        await self._inner.close()


def turn(times: Sequence[float], sizes: Sequence[int], seconds: float) -> Turn:
    """`seconds`: as many as it really took."""
    cuts = quantiles(times, n=100)
    return Turn(sum(sizes) / seconds, sum(sizes) / len(sizes), cuts[49] * 1000, cuts[98] * 1000)


async def posted(project: Project, broker: KafkaBroker, clients: int, seconds: float, gather: bool, name: str) -> Turn:
    """One life of the producer, loaded for so many seconds. Raises what its intake ends with before its clients do."""
    counting = CountingBroker(broker)
    counting.sizes = []
    made = HttpProducer(counting, project, Limits(answer_s=ANSWER_S), IngestMetrics(CollectorRegistry()))
    made.intake.gather_requests = clients if gather else 0
    running = asyncio.create_task(made.intake.run())
    try:
        async with serve(guarded(made.app), "127.0.0.1", 0) as url:
            while made.intake.down is not None and not running.done():  # noqa: ASYNC110 - it reads what ids there are
                await asyncio.sleep(0.01)
            said = await beside(loaded(url, name, clients, seconds), running)
            made.intake.drain()
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    measured = Posted(**orjson.loads(said))
    return turn(measured.times, counting.sizes, measured.seconds)


async def loaded(url: str, name: str, clients: int, seconds: float) -> bytes:
    """What the clients say, a process of their own. Raises DependencyError(clients_failed)."""
    arguments = ["--client-of", url.rpartition(":")[2], "--name", name, "--clients", str(clients)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *arguments, "--seconds", str(seconds), stdout=asyncio.subprocess.PIPE
    )
    try:
        said, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise DependencyError(
            "clients_failed", f"the clients ended with code {process.returncode}", "read what they said above"
        )
    return said


async def post(port: int, name: str, clients: int, seconds: float) -> Posted:
    """The process beside the server's."""
    times: list[float] = []
    begun = time.perf_counter()
    await asyncio.gather(*(client(port, f"{name}-{number}", begun + seconds, times) for number in range(clients)))
    return Posted(times, time.perf_counter() - begun)


async def client(port: int, name: str, until: float, times: list[float]) -> None:
    """HTTP by hand: a client library would take more of the two cores than what is measured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while (begun := time.perf_counter()) < until or len(times) < LEAST:
        body = orjson.dumps({"id": f"{name}-{number}", "source": "web", "text": TEXT})
        writer.write(HEAD % len(body) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 202"):
            raise SystemExit(f"not taken: {answer.decode()}")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        times.append(time.perf_counter() - begun)
        number += 1
    writer.close()


async def committed(project: Project, broker: KafkaBroker, clients: int, seconds: float) -> Turn:
    """Transactions of `clients` documents one after another."""
    topic, value = project.documents_topic("text"), TEXT.encode()
    producer = await broker.producer("bench.posting.limit")
    times: list[float] = []
    sizes: list[int] = []
    first = last = time.perf_counter()
    try:
        while (begun := time.perf_counter()) < first + seconds or len(times) < LEAST:
            await producer.commit(
                [Outgoing(topic, f"{len(sizes)}-{n}".encode(), value) for n in range(clients)], {}, None
            )
            last = time.perf_counter()
            times.append(last - begun)
            sizes.append(clients)
    finally:
        await producer.close()
    return turn(times, sizes, last - first)


async def rounds(sides: Mapping[str, Side], clients: Sequence[int], repeats: int) -> dict[int, dict[str, list[Turn]]]:
    found: dict[int, dict[str, list[Turn]]] = {many: {side: [] for side in sides} for many in clients}
    for number in range(repeats):
        for many in clients:
            for side in order([*sides], number):
                found[many][side].append(await sides[side](many, f"{side.replace(' ', '-')}.{number}.{many}"))
    return found


async def measure(clients: Sequence[int], seconds: float, repeats: int) -> dict[int, dict[str, list[Turn]]]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(groups={"text": GroupSection(family="text")}, sources={"web": SourceSection(group="text")})
        project = Project(Path(folder), settings)
        async with embedded(Path(folder) / "broker") as servers:
            broker = KafkaBroker(BrokerSection(), servers)
            await broker.create_topics(topic_specs(project), 1)
            await posted(project, broker, 4, 1.0, True, "warm")
            sides: dict[str, Side] = {
                "gathering": lambda many, name: posted(project, broker, many, seconds, True, name),
                "no gathering": lambda many, name: posted(project, broker, many, seconds, False, name),
                "transactions": lambda many, name: committed(project, broker, many, seconds),
            }
            found = await rounds(sides, clients, repeats)
            await broker.close()
    return found


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--clients", type=positive, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=at_least(SECONDS_MIN), default=5.0, help="that a turn is loaded for")
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--client-of", type=int, help=SUPPRESS)
    parser.add_argument("--name", help=SUPPRESS)
    asked = parser.parse_args()
    if asked.client_of is not None:
        measured = run(post(asked.client_of, asked.name, asked.clients[0], asked.seconds))
        print(orjson.dumps(measured._asdict()).decode())
        return
    found = run(measure(asked.clients, asked.seconds, asked.repeats))
    names = "clients", "side", "documents/s", "ratio, by turn", "documents a transaction", "p50 ms", "p99 ms"
    table = Table(*names, **NARROW)
    said = []
    for many, sides in found.items():
        for side, turns in sides.items():
            middle = Turn(*(median(column) for column in zip(*turns, strict=True)))
            ratio = median(one.rate / base.rate for one, base in zip(turns, sides["no gathering"], strict=True))
            table.add_row(
                str(many), side, f"{middle.rate:.0f}", f"{ratio:.2f}", f"{middle.a_transaction:.1f}",
                f"{middle.p50_ms:.0f}", f"{middle.p99_ms:.0f}",
            )  # fmt: skip
            said.append({"clients": many, "side": side, "ratio": round(ratio, 3), **middle._asdict()})
    Console().print(table)
    last_line({"bench": "posting", "seconds": asked.seconds, "repeats": asked.repeats, "sides": said})


if __name__ == "__main__":
    program(main)
