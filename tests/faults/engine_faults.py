"""Faults of the engine: killed, hanging, answering nonsense, busy, and killed by one document."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from mira_stream.messages import DeadLetter, ScoreCard
from mira_stream.scoring.engine import Request
from mira_stream.testing.engine import GARBAGE, hashed_answer
from tests.faults.endpoint import Endpoint, Mood, serving
from tests.faults.engines import EngineSettings
from tests.faults.lab import Lab
from tests.faults.services import PATIENCE_S
from tests.faults.stream import CALM, Stream
from tests.faults.witness import read_all

OUTAGE_S: Final = 6.0
ANEW: Final = "engine starts anew"


async def records(stream: Stream, topic: str, kind: Any) -> Sequence[Any]:
    """All committed messages of a topic."""
    name, partitions = stream.project.topic(topic), stream.project.settings.topics.partitions
    found = await read_all(stream.kafka.servers, {name: partitions})
    return [msgspec.json.decode(record.value, type=kind) for record in found]


def _last_pid(path: Path) -> int:
    return int(path.read_text().split()[-1])


async def killed(lab: Lab) -> None:
    """F13: the engine's process is killed three times; the scorer lives on, its requests are asked again."""
    stream = await lab.stream()
    pids = lab.folder / "pids"
    scorer = stream.start("score", engine=EngineSettings(kind="child", delay_s=0.3, pid_file=str(pids)))
    stream.start("aggregate")
    await stream.feed(900)
    for turn in range(3):
        await stream.until_more(60)
        struck = time.monotonic()
        os.kill(_last_pid(pids), signal.SIGKILL)
        lab.require(
            await scorer.until_said(ANEW, PATIENCE_S, turn + 1), f"the engine was not started anew {turn + 1} times"
        )
        await stream.until_more(40)
        lab.gap(stream.witness.gap_s(struck), 10.0)
    lab.require(scorer.said("event=assigned") == 1, "the scorer left its consumer group")
    counts = await lab.finish(stream)
    lab.require(counts.dead_letters == 0, f"{counts.dead_letters} dead letters by no fault of the documents")


async def hanging(lab: Lab) -> None:
    """F14: the engine's process is frozen while everything else lives; it is found out and replaced."""
    timeout_s = 4.0
    stream = await lab.stream(group_more=f"request_timeout_s = {timeout_s}")
    pids = lab.folder / "pids"
    scorer = stream.start("score", engine=EngineSettings(kind="child", delay_s=0.3, pid_file=str(pids)))
    stream.start("aggregate")
    await stream.feed(900)
    for turn in range(2):
        await stream.until_more(60)
        struck = time.monotonic()
        os.kill(_last_pid(pids), signal.SIGSTOP)
        lab.require(
            await scorer.until_said(ANEW, PATIENCE_S, turn + 1), f"the engine's hang {turn + 1} was not found out"
        )
        lab.gap(time.monotonic() - struck, 1.25 * timeout_s + 1.0, "hang found out")
        await stream.until_more(80, 60.0)
        lab.gap(stream.witness.gap_s(struck), 1.25 * timeout_s + 5.0)
    lab.require(scorer.said("event=assigned") == 1, "the scorer left its consumer group")
    counts = await lab.finish(stream)
    lab.require(counts.dead_letters == 0, f"{counts.dead_letters} dead letters by no fault of the documents")


async def garbage(lab: Lab) -> None:
    """F15: every fourth reply is garbage of some kind: a dead letter after one more attempt, never a default score."""
    kinds = sorted(GARBAGE)
    stream = await lab.stream(timeouts=CALM)

    def text(number: int) -> str:
        return f"Note {number} " + (f"garbage:{kinds[number // 4 % len(kinds)]}" if number % 4 == 0 else "is fine")

    stream.start("score", engine=EngineSettings(delay_s=0.005, answer="garbage"))
    stream.start("aggregate")
    await stream.feed(1_200, text)
    await lab.finish(stream)
    letters = await records(stream, "dead-letters", DeadLetter)
    lab.require({letter.id for letter in letters} == {f"d{n}" for n in range(0, 1_200, 4)}, "other documents died")
    wrong = [letter for letter in letters if (letter.reason, letter.attempts) != ("reply_unreadable", 2)]
    lab.require(not wrong, f"{len(wrong)} dead letters for another reason, {wrong[:1]}")


async def busy(lab: Lab) -> None:
    """F16: the endpoint answers 503, then 429, then a byte a second, then not at all: the scorer waits for it."""
    answered: set[str] = set()

    def answer(request: Request) -> str:
        text = request.messages[-1]["content"]
        if endpoint.mood == "well" and "Note number" in text:
            answered.add(text)
        return hashed_answer(request)

    async with serving(Endpoint(answer=answer)) as endpoint:
        stream = await lab.stream(url=endpoint.url, group_more="request_timeout_s = 4.0")
        scorer = stream.start("score")
        stream.start("aggregate")
        await stream.feed(3_000)
        moods: list[Mood] = ["503", "429", "loris", "slow"]
        for mood in moods:
            await stream.until_more(100)
            endpoint.mood = mood
            await stream.until_seen(len(answered))  # what was answered before is still on its way
            asked, seen, struck = endpoint.requests, len(stream.witness.seen), time.monotonic()
            await asyncio.sleep(OUTAGE_S)
            asked = endpoint.requests - asked
            lab.require(len(stream.witness.seen) - seen <= 5, f"{mood}: the outage never came through")
            endpoint.mood = "well"
            lab.require(asked <= 32 * OUTAGE_S, f"{mood}: {asked} requests in {OUTAGE_S:g} s: busy retry")
            await stream.until_more(40, 60.0)
            lab.gap(stream.witness.gap_s(struck), OUTAGE_S + 15.0, f"gap of {mood}")
        lab.require(scorer.said("event=assigned") == 1, "the scorer left its consumer group")
        counts = await lab.finish(stream)
        lab.require(counts.dead_letters == 0, f"{counts.dead_letters} dead letters by no fault of the documents")


async def poison(lab: Lab) -> None:
    """F17: three documents kill the engine every time: found by halving, dead letters; all others are scored."""
    stream = await lab.stream(timeouts=CALM)
    number = 400
    poisoned = sorted(lab.chance.sample(range(number), 3))
    pids = lab.folder / "pids"

    def text(n: int) -> str:
        return f"Note {n} POISON" if n in poisoned else f"Note {n} is fine"

    scorer = stream.start("score", engine=EngineSettings(kind="child", delay_s=0.05, pid_file=str(pids)))
    stream.start("aggregate")
    struck = time.monotonic()
    await stream.feed(number, text)
    await lab.finish(stream)
    lab.gap(stream.witness.gap_s(struck))
    letters = await records(stream, "dead-letters", DeadLetter)
    lab.require(sorted(letter.id for letter in letters) == sorted(f"d{n}" for n in poisoned), f"died: {letters}")
    lab.require(all(letter.reason == "engine_refused" for letter in letters), "dead for another reason")
    restarts, most = len(pids.read_text().split()) - 1, 3 * 6  # log2 of 32 in flight, and one
    lab.require(restarts <= most, f"{restarts} restarts, at most {most}")
    lab.require(scorer.exit_code in (None, 0), f"the scorer ended: {scorer.last_words()}")
    lab.note(f"{restarts} restarts for 3 poisoned documents among {number}")


async def scores_by_id(stream: Stream) -> dict[str, list[float | None]]:
    """The scores of every card."""
    return {card.id: card.scores for card in await records(stream, "scores", ScoreCard)}
