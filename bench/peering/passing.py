"""Passing records on: no work at all, and 50 ms of waiting each. Each side with the strongest guarantee it has."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient

from bench.peering.environments import FASTSTREAM, OURS, QUIX, Environment, python_of
from bench.peering.processes import Program
from bench.peering.topics import Reader
from mira_stream.benching.alternating import order
from mira_stream.kafka import KafkaBroker
from mira_stream.records import Outgoing
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import TopicSpec

PROGRAMS: Final = Path(__file__).parent / "programs"
PARTITIONS: Final = 8
VALUE: Final = b"x" * 1_000
AT_ONCE: Final = 5_000
COMMIT_S: Final = 0.2
"""The longest a result waits for its commit, on every side that has such a setting."""


class Side(NamedTuple):
    """`waits`: whether it can have many documents wait at once."""

    name: str
    environment: Environment
    program: str
    guarantee: str
    waits: bool = True


SIDES: Final = (
    Side("aiokafka alone", OURS, "pass_aiokafka.py", "exactly once", waits=False),
    Side("mira-stream's runner", OURS, "pass_ours.py", "exactly once"),
    Side("Quix Streams", QUIX, "pass_quix.py", "exactly once", waits=False),
    Side("faststream-concurrent-aiokafka", FASTSTREAM, "pass_faststream.py", "at least once"),
)


class Turn(NamedTuple):
    """`seconds` are None if it had nothing to do. `killed_at`: how many records were there when it was killed."""

    seconds: float | None
    peak_mib: float
    missing: int
    twice: int
    killed_at: int | None


class Passed(NamedTuple):
    """Seconds of each turn until a reader that trusts only commits had all; records missing and twice after a kill,
    and how many it had when it struck."""

    side: Side
    document_s: float
    seconds: list[float]
    peak_mib: float = 0.0
    lost: tuple[int, int] | None = None
    killed_at: int | None = None
    failed: str = ""

    def rate(self, records: int) -> float | None:
        return records / median(self.seconds) if self.seconds else None


class Passing:
    """One input topic; each run has a consumer group and an output of its own."""

    def __init__(
        self, bootstrap: str, prefix: str, folder: Path, environments: Path, in_flight: int, limit_s: float
    ) -> None:
        self._bootstrap = bootstrap
        self.prefix = prefix
        self._folder = folder
        self._environments = environments
        self._in_flight = in_flight
        self._limit_s = limit_s
        self._turn = 0

    async def write(self, topic: str, records: int) -> None:
        """Numbered keys, spread evenly."""
        broker = KafkaBroker(BrokerSection(), self._bootstrap)
        await broker.create_topics([TopicSpec(topic, PARTITIONS)], 1)
        producer = await broker.producer(f"write.{topic}")
        for first in range(0, records, AT_ONCE):
            numbers = range(first, min(records, first + AT_ONCE))
            await producer.commit([Outgoing(topic, b"%d" % n, VALUE, n % PARTITIONS) for n in numbers], {}, None)
        await producer.close()
        await broker.close()

    async def run(self, side: Side, topic: str, records: int, document_s: float, *, kill: bool = False) -> Turn:
        """Raises RuntimeError if it does not get on. A program that is through before it can be killed at its half has
        nothing left at its second start. Its output goes afterwards: all turns' together are gigabytes."""
        self._turn += 1
        name = f"{self.prefix}.pass{self._turn}"
        topics = [name, f"{name}.progress"]
        broker = KafkaBroker(BrokerSection(), self._bootstrap)
        await broker.create_topics([TopicSpec(one, PARTITIONS) for one in topics], 1)
        await broker.close()
        try:
            return await self._passed(side, name, topic, records, document_s, kill=kill)
        finally:
            await self._delete(topics)

    async def _passed(self, side: Side, name: str, topic: str, records: int, document_s: float, *, kill: bool) -> Turn:
        job: dict[str, Any] = {
            "bootstrap": self._bootstrap, "input": topic, "output": name, "progress": f"{name}.progress",
            "group": name, "document_s": document_s, "in_flight": self._in_flight, "commit_s": COMMIT_S,
        }  # fmt: skip
        folder, python = self._folder / f"{self._turn}", await python_of(side.environment, self._environments)

        async def once(wanted: int, number: signal.Signals) -> tuple[float | None, float]:
            program = Program(python, PROGRAMS / side.program, folder, job)
            return await self._once(program, reader, wanted, number), program.peak_mib

        async with Reader(self._bootstrap, name, _key) as reader:
            killed_at = None
            if kill:
                await once(records // 2, signal.SIGKILL)
                killed_at = len(reader.found)
            seconds, peak = await once(records, signal.SIGTERM)
            await reader.read_to_end()
            twice = sum(count - 1 for count in reader.found.values())
            return Turn(seconds, peak, records - len(reader.found), twice, killed_at)

    async def _delete(self, topics: Sequence[str]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([*topics])
        finally:
            await admin.close()

    async def _once(self, program: Program, reader: Reader, wanted: int, number: signal.Signals) -> float | None:
        """Seconds from its first record until the reader saw the last of `wanted`, which ended it."""
        async with program:
            program.sample()

            async def reached() -> bool:
                return await reader.read() >= wanted

            if not await program.until(reached, self._limit_s, pause_s=0.0):
                raise RuntimeError(f"{len(reader.found)} of {wanted} records: {program.last_words()}")
            began = program.started
            await program.end(number)
            return None if began is None else reader.seen_at - began


def _key(record: "ConsumerRecord[bytes, bytes]") -> bytes:
    return bytes(record.key or b"")


async def pass_all(
    passing: Passing,
    sides: Sequence[Side],
    records: int,
    document_s: float,
    repeats: int,
    talk: Callable[[str], None],
    rest_s: float,
) -> list[Passed]:
    """In turns, each behind a rest, the first round is not counted; then one run that is killed at the half."""
    topic = f"{passing.prefix}.input"
    await passing.write(topic, records)
    taking = [side for side in sides if side.waits or not document_s]
    seconds: dict[str, list[float]] = {side.name: [] for side in taking}
    peak, failed = dict.fromkeys(seconds, 0.0), dict[str, str]()
    lost: dict[str, tuple[int, int]] = {}
    killed_at: dict[str, int | None] = {}
    for number in range(repeats + 2):
        for side in order(taking, number):
            if side.name in failed:
                continue
            await asyncio.sleep(rest_s)
            kill = number == repeats + 1
            try:
                turn = await passing.run(side, topic, records, document_s, kill=kill)
            except Exception as error:
                failed[side.name] = f"{type(error).__name__}: {error}"
                talk(f"{side.name}, {document_s:g} s: failed: {failed[side.name]}")
                continue
            if kill:
                lost[side.name], killed_at[side.name] = (turn.missing, turn.twice), turn.killed_at
                found = f"{turn.missing} missing, {turn.twice} twice"
                talk(f"{side.name}, {document_s:g} s, killed at {turn.killed_at} of {records}: {found}")
                continue
            if turn.seconds is None:
                failed[side.name] = "it never said that it began"
                continue
            if turn.missing or turn.twice:
                failed[side.name] = f"{turn.missing} missing, {turn.twice} twice without any fault"
            talk(f"{side.name}, {document_s:g} s: {turn.seconds:.2f} s" + ("" if number else ", warm-up, not counted"))
            peak[side.name] = max(peak[side.name], turn.peak_mib)
            if number:
                seconds[side.name].append(turn.seconds)
    return [
        Passed(
            side, document_s, seconds[side.name], peak[side.name],
            lost.get(side.name), killed_at.get(side.name), failed.get(side.name, ""),
        )
        for side in taking
    ]  # fmt: skip
