"""Scoring documents with one tiny student: how fast each side is, what a kill costs it, what one bad document does."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from aiokafka import ConsumerRecord

from bench.peering.environments import DATATROVE, OURS, RAY, python_of
from bench.peering.judged import Delivered, Killed, Measured, Poisoned, Side, Turn, Work
from bench.peering.processes import Program
from bench.peering.programs.stream import project_of
from bench.peering.topics import Reader
from mira_stream.benching.alternating import order
from mira_stream.kafka import KafkaBroker
from mira_stream.messages import Document, encode
from mira_stream.records import Outgoing
from mira_stream.streaming.topics import topic_specs

PROGRAMS: Final = Path(__file__).parent / "programs"


POISON: Final = "poison"
POISON_CHARACTERS: Final = 400_000


SIDES: Final = (
    Side("LLM.generate", OURS, "generate.py", served=False),
    Side("vllm serve, asyncio client", OURS, "client.py", served=True),
    Side("datatrove InferenceRunner", DATATROVE, "datatrove_runner.py", served=True),
    Side("Ray Data LLM, HTTP", RAY, "ray_http.py", served=True),
    Side("mira-stream", OURS, "stream.py", served=False),
    Side("mira-stream, vllm serve", OURS, "stream.py", served=True),
)


class Judging:
    """One side after the other, in turns."""

    def __init__(self, work: Work, environments: Path) -> None:
        self._work = work
        self._environments = environments
        self._turn = 0

    async def speed(self, side: Side) -> Turn:
        """Raises RuntimeError when not every document has its result."""
        work = self._work
        if side.served:
            await work.server.forget()
        async with await self._program(side, work.documents) as program:
            program.sample(work.server.pids if side.served else (), work.broker_pids if side.is_stream else ())
            before = await work.server.generated() if side.served else 0
            status = await program.wait(work.limit_s)
            await self._settle(side, program)
            found = await self._delivered(side, program)
            if status != 0 or program.seconds is None or len(found.results) < len(work.documents):
                raise RuntimeError(
                    f"of {len(work.documents)} documents {found}, status {status}: {program.last_words()}"
                )
            tokens = await self._tokens(side, program, before)
            return Turn(program.seconds, program.peak_mib, program.broker_mib, tokens)

    async def kill(self, side: Side, tokens: int | None) -> Killed:
        """SIGKILL when half of the tokens (or, where nobody counts them, of the results) are there; then again.

        Raises RuntimeError when it was over before that."""
        work, half = self._work, len(self._work.documents) // 2
        if side.served:
            await work.server.forget()
        freeze_at = tokens / 2 if tokens else None
        async with await self._program(side, work.documents, counts=True, freeze_at=freeze_at) as program:
            before = await work.server.generated() if side.served else 0

            async def half_way() -> bool:
                spent = await self._tokens(side, program, before)
                if tokens and spent is not None:
                    return spent >= tokens / 2
                return len((await self._delivered(side, program)).all) >= half

            if not await program.until(half_way, work.limit_s):
                raise RuntimeError(f"never came to the half: {program.last_words()}")
            if program.is_over:
                raise RuntimeError("it was over before it could be killed; do: give it more documents")
            await program.end(signal.SIGKILL)
            if side.served:
                await work.server.idle()
            spent = await self._tokens(side, program, before) or 0
        job = self._job(side, program.folder, len(work.documents), counts=True)
        async with Program(await self._python(side), PROGRAMS / side.program, program.folder, job) as again:
            between = await work.server.generated() if side.served else 0
            status = await self._to_the_end(side, again)
            found = await self._delivered(side, again)
            more = await self._tokens(side, again, between)
        ratio = (spent + more) / tokens if tokens and more is not None else None
        missing, twice = len(work.documents) - len(found.results), found.all.total() - len(found.all)
        return Killed(ratio, missing, twice, len(found.refused), status)

    async def poison(self, side: Side) -> Poisoned:
        """A document far longer than the engine's context among the others."""
        work, at = self._work, len(self._work.documents) // 2
        text = work.documents[at].text or POISON
        bad = msgspec.structs.replace(
            work.documents[at], id=POISON, text=(text * (POISON_CHARACTERS // len(text) + 1))[:POISON_CHARACTERS]
        )
        documents = [*work.documents[:at], bad, *work.documents[at:]]
        async with await self._program(side, documents) as program:
            status = await program.wait(work.limit_s)
            await self._settle(side, program)
            found = await self._delivered(side, program)
            scored, poison = found.results.keys(), POISON.encode()
            others = len(scored - {poison})
            return Poisoned(others, poison in scored, len(found.refused), status, program.last_words())

    async def _to_the_end(self, side: Side, program: Program) -> int | None:
        """Exit status of a second start; the stream, which sees only what is left, is told to end once all is there."""
        if not side.is_stream:
            return await program.wait(self._work.limit_s)

        async def all_there() -> bool:
            listens = (program.folder / "listens").exists()
            return listens and len((await self._delivered(side, program)).all) >= len(self._work.documents)

        await program.until(all_there, self._work.limit_s)
        await program.end(signal.SIGTERM)
        return await program.wait(1.0)

    async def _program(
        self, side: Side, documents: Sequence[Document], *, counts: bool = False, freeze_at: float | None = None
    ) -> Program:
        """Ready to be entered, with its documents where it reads them."""
        self._turn += 1
        folder = self._work.folder / f"{self._turn}"
        folder.mkdir(parents=True)
        job = self._job(side, folder, len(documents), counts=counts, freeze_at=freeze_at)
        if side.is_stream:
            await self._produce(job, documents)
        else:
            lines = [orjson.dumps({"id": one.id, "body": self._body(one)}) for one in documents]
            Path(job["requests"]).write_bytes(b"\n".join(lines))
        return Program(await self._python(side), PROGRAMS / side.program, folder, job)

    def _body(self, document: Document) -> Mapping[str, Any]:
        if document.id != POISON:
            return self._work.bodies[document.id]
        body = next(iter(self._work.bodies.values()))
        return {**body, "messages": [{"role": "user", "content": document.text}]}

    def _job(
        self, side: Side, folder: Path, documents: int, *, counts: bool = False, freeze_at: float | None = None
    ) -> dict[str, Any]:
        """`counts`: the program tells how many tokens there are while it generates, which a timed one is spared.
        `freeze_at`: so many, and one that can stand still does."""
        work = self._work
        return {
            "requests": str(folder / "requests.jsonl"), "base_url": work.server.base_url, "model": work.server.model,
            "in_flight": work.in_flight, "chunk": max(1, len(work.documents) // 8), "engine": dict(work.engine),
            "project": str(work.project), "group": work.group, "served": side.served, "bootstrap": work.bootstrap,
            "prefix": f"peers{folder.name}", "documents": documents, "counts": counts,
            "freeze_at": freeze_at,
        }  # fmt: skip

    async def _python(self, side: Side) -> Path:
        return await python_of(side.environment, self._environments)

    async def _produce(self, job: Mapping[str, Any], documents: Sequence[Document]) -> None:
        project = project_of(dict(job))
        broker = KafkaBroker(project.settings.broker, job["bootstrap"])
        await broker.create_topics(topic_specs(project), 1)
        producer = await broker.producer(project.topic("bench"))
        topic, partitions = project.documents_topic(job["group"]), project.settings.topics.partitions
        outgoing = [Outgoing(topic, one.id.encode(), encode(one), at % partitions) for at, one in enumerate(documents)]
        await producer.commit(outgoing, {}, None)
        await producer.close()
        await broker.close()

    async def _settle(self, side: Side, program: Program) -> None:
        """Until all that an ended stream has committed can be read: a successor of its owners waits for that."""
        if not side.is_stream:
            return
        job = orjson.loads((program.folder / "job.json").read_bytes())
        project = project_of(job)
        topic, broker = project.documents_topic(job["group"]), KafkaBroker(project.settings.broker, job["bootstrap"])
        for number in range(project.settings.topics.partitions):
            owner = f"{project.consumer_group('scorer.' + job['group'])}.{topic}.{number}"
            await (await broker.producer(owner)).close()
        await broker.close()

    async def _delivered(self, side: Side, program: Program) -> Delivered:
        if not side.is_stream:
            return Delivered(await asyncio.to_thread(_ids, program.folder), Counter())
        found = []
        for topic in ("scores", "dead-letters"):
            async with Reader(self._work.bootstrap, f"peers{program.folder.name}.{topic}", _id) as reader:
                await reader.read_to_end()
                found.append(reader.found)
        return Delivered(*found)

    async def _tokens(self, side: Side, program: Program, before: int | None) -> int | None:
        if side.served:
            now = await self._work.server.generated()
            return None if now is None or before is None else now - before
        path = program.folder / "tokens"
        return int(path.read_text() or 0) if path.is_file() else None


def _ids(folder: Path) -> Counter[bytes]:
    """Of every line of results; a torn last line is none."""
    found: Counter[bytes] = Counter()
    for path in [*folder.glob("results.jsonl"), *folder.glob("results/**/*.json*")]:
        for line in path.read_bytes().splitlines():
            try:
                found[str(orjson.loads(line)["id"]).encode()] += 1
            except (orjson.JSONDecodeError, KeyError):
                continue
    return found


def _id(record: "ConsumerRecord[bytes, bytes]") -> bytes:
    assert record.value is not None
    return str(orjson.loads(record.value)["id"]).encode()


async def judge_all(
    judging: Judging, sides: Sequence[Side], repeats: int, talk: Callable[[str], None], rest_s: float
) -> list[Measured]:
    """The sides take turns, each behind a rest; the first round is not counted. Then the kill, then the poison."""
    turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
    failed: dict[str, str] = {}
    for number in range(repeats + 1):
        for side in order(sides, number):
            if side.name in failed:
                continue
            await asyncio.sleep(rest_s)
            began = time.monotonic()
            try:
                turn = await judging.speed(side)
            except Exception as error:
                failed[side.name] = f"{type(error).__name__}: {error}"
                talk(f"turn {number}: {side.name} failed: {failed[side.name]}")
                continue
            talk(f"turn {number}: {side.name}: {turn.seconds:.2f} s ({time.monotonic() - began:.0f} s with its start)"
                 + ("" if number else ", warm-up, not counted"))  # fmt: skip
            if number:
                turns[side.name].append(turn)
    return [await _judged(judging, side, turns[side.name], failed.get(side.name, ""), talk) for side in sides]


async def _judged(
    judging: Judging, side: Side, turns: Sequence[Turn], failed: str, talk: Callable[[str], None]
) -> Measured:
    """With its kill and its poison, where all of its turns went well."""
    killed, poisoned = None, None
    if not failed:
        try:
            killed = await judging.kill(side, turns[-1].tokens if turns else None)
            talk(f"{side.name}: {killed}")
            poisoned = await judging.poison(side)
            talk(f"{side.name}: {poisoned}")
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
            talk(f"{side.name} failed: {failed}")
    return Measured(
        side,
        [turn.seconds for turn in turns],
        max((turn.peak_mib for turn in turns), default=0.0),
        max((turn.broker_mib for turn in turns), default=0.0),
        turns[-1].tokens if turns else None,
        killed,
        poisoned,
        failed,
    )
