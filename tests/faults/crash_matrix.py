"""`make crash-matrix`: random SIGKILLs of scorers and aggregators, members that join and leave, broker restarts.

Counted by origin: 0 lost, 0 duplicated, and the audit agrees. The state that a restart would find must be that of a
selector which judges the whole score log in one go. Then aggregators decide anew on the same score log, into other
topics, without any kill: with 1, 2 and 4 of them epochs, states and decisions must be the very bytes that the killed
ones wrote. (Windows are left to the audit: when one is summed up depends on where transactions end.)

    python -m tests.faults.crash_matrix --documents 100000 --kills 200 --seed 0
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

import orjson
from msgspec import Struct

from mira_stream.selecting.restore import WINDOWS_KEY
from tests.faults.engines import EngineSettings
from tests.faults.kafka import Kafka
from tests.faults.lab import Lab
from tests.faults.services import Service
from tests.faults.stream import CALM, Stream
from tests.faults.witness import end_of, read_all
from tests.faults.worker import SCORES_OF
from tests.states import differing_states

GROUPS: Final = tuple(f"g{number}" for number in range(8))
PARTITIONS: Final = 4
ENGINE: Final = EngineSettings(delay_s=0.05)
AGGREGATORS: Final = (1, 2, 4)
STUCK_S: Final = 600.0


class Plan(Struct, frozen=True, kw_only=True):
    """How much of everything."""

    documents: int = 100_000
    kills: int = 200
    seed: int = 0
    broker_restarts: int = 6
    scorers: int = 4
    aggregators: int = 2
    again_with: tuple[int, ...] = AGGREGATORS


class Crew:
    """The service processes that are meant to run; what is killed comes back, extra members come and go."""

    def __init__(self, lab: Lab, stream: Stream, plan: Plan) -> None:
        self._chance, self._stream = lab.chance, stream
        share = len(GROUPS) // plan.scorers
        self._posts = [GROUPS[at : at + share] for at in range(0, len(GROUPS), share)]
        self._posts += [()] * plan.aggregators
        self.running: list[Service] = [self._start(post) for post in self._posts]
        self._extra: list[Service] = []
        self.killed: dict[str, int] = {"score": 0, "aggregate": 0}
        self.at_work = 0
        """Kills when documents without an end were in the stream."""
        self.joined = self.left = 0

    def _start(self, groups: tuple[str, ...]) -> Service:
        """A scorer of these groups; an aggregator if there are none."""
        if not groups:
            return self._stream.start("aggregate")
        return self._stream.start("score", *(word for group in groups for word in ("--group", group)), engine=ENGINE)

    async def kill_one(self) -> None:
        """SIGKILL a member at random; another takes its post at once."""
        self.replace_the_fallen()
        at = self._chance.randrange(len(self._posts))
        self.at_work += len(self._stream.witness.seen) < self._stream.fed
        await self.running[at].kill()
        self.killed["score" if self._posts[at] else "aggregate"] += 1
        self.running[at] = self._start(self._posts[at])

    def come_or_go(self) -> None:
        """One member more joins, or one of those leaves in order."""
        if self._extra and self._chance.random() < 0.5:
            self._extra.pop(self._chance.randrange(len(self._extra))).send(signal.SIGTERM)
            self.left += 1
        elif len(self._extra) < 3:
            self._extra.append(self._start(self._chance.choice(self._posts)))
            self.joined += 1

    def replace_the_fallen(self) -> None:
        """A service that ended by itself is started again, as an operator's tools would."""
        for at, service in enumerate(self.running):
            if service.exit_code is not None:
                self.running[at] = self._start(self._posts[at])
        self._extra = [service for service in self._extra if service.exit_code is None]


async def run(kafka: Kafka, root: Path, plan: Plan, say: Callable[[str], object]) -> dict[str, object]:
    """The whole matrix on a running broker; what its last line says."""
    lab = Lab(kafka, root, "crash", plan.seed)
    try:
        stream = await lab.stream(groups=GROUPS, partitions=PARTITIONS)
        started = time.monotonic()
        crew = Crew(lab, stream, plan)
        await _storm(lab, stream, crew, plan, say)
        counts = await lab.finish(stream, STUCK_S, audited=True)
        say(f"{counts.documents} documents after {time.monotonic() - started:.0f} s: {counts}")
        different = await differing_states(stream.project, stream.broker)
        say(f"states and the score log judged in one go: {'DIFFERENT' if different else 'equal'}")
        lab.require(not different, f"states of {len(different)} partitions are not what the score log says")
        wrote = await _bytes(stream)
        same: dict[str, bool] = {}
        for number in plan.again_with:
            same[str(number)] = await _again(lab, stream, number, counts.decisions + counts.dead_letters) == wrote
            say(f"decided anew by {number} aggregators: {'equal' if same[str(number)] else 'DIFFERENT'}")
        for anew, equal in same.items():
            lab.require(equal, f"{anew} aggregators decide otherwise")
        return {
            "documents": counts.documents,
            "decisions": counts.decisions,
            "kills": crew.killed,
            "kills_at_work": crew.at_work,
            "joined": crew.joined,
            "left": crew.left,
            "broker_restarts": plan.broker_restarts,
            "lost": counts.lost,
            "duplicated": counts.duplicated,
            "equal_states": not different,
            "equal_bytes": same,
            "seconds": round(time.monotonic() - started, 1),
            "passed": lab.outcome().passed,
            "wrong": lab.wrong,
        }
    finally:
        await lab.close()


async def _storm(lab: Lab, stream: Stream, crew: Crew, plan: Plan, say: Callable[[str], object]) -> None:
    """A kill in each share of the documents, but the last: as soon as a part of the share, drawn by chance, has ended.
    A share comes in when its forerunner's kill is due, so that each kill finds work, however fast it is done."""
    restarts = set(lab.chance.sample(range(plan.kills), plan.broker_restarts))
    await _feed(stream, plan, 1)
    for number in range(plan.kills):
        due = int(plan.documents * (number + lab.chance.random()) / (plan.kills + 1)) + 1
        if not await _ended(stream, crew, due):
            lab.require(False, f"stuck at {len(stream.witness.seen)} of {stream.fed}")
            return
        if number in restarts:
            await (lab.kafka.stop if lab.chance.random() < 0.5 else lab.kafka.kill)()
            await lab.kafka.start()
        if lab.chance.random() < 0.3:
            for _ in range(lab.chance.choice((1, 1, 1, 3))):
                crew.come_or_go()
        await _feed(stream, plan, number + 2)
        await crew.kill_one()
        if number % 20 == 19:
            say(f"{number + 1} kills, {len(stream.witness.seen)} of {stream.fed} documents ended")
    lab.require(crew.at_work == plan.kills, f"{plan.kills - crew.at_work} kills when all had ended")
    if not await _ended(stream, crew, stream.fed):
        lab.require(False, f"stuck at {len(stream.witness.seen)} of {stream.fed} when all had been killed")


async def _feed(stream: Stream, plan: Plan, shares: int) -> None:
    """So many shares are in the stream, and something of them is left to do: if need be, a share more than planned."""
    share = -(-plan.documents // (plan.kills + 1))
    count = min(shares * share, plan.documents) - stream.fed
    while count > 0 or len(stream.witness.seen) >= stream.fed:
        await stream.feed(count if count > 0 else share, groups=GROUPS)
        count = 0


async def _ended(stream: Stream, crew: Crew, count: int) -> bool:
    """Wait for so many ends, while those who fell (a service that starts without a broker gives up) are started again.
    False if no end comes for STUCK_S."""
    seen, deadline = -1, 0.0
    while len(stream.witness.seen) < count:
        crew.replace_the_fallen()
        if len(stream.witness.seen) > seen:
            seen, deadline = len(stream.witness.seen), time.monotonic() + STUCK_S
        elif time.monotonic() > deadline:
            return False
        await stream.witness.until(count, 2.0)
    return True


async def _again(lab: Lab, stream: Stream, aggregators: int, ends: int) -> Mapping[str, str]:
    """Decide on the score log of `stream` into topics of its own; hashes of what was written."""
    other = await lab.stream(groups=GROUPS, partitions=PARTITIONS, timeouts=CALM)
    environment = {SCORES_OF: stream.project.settings.project.prefix}
    for _ in range(aggregators):
        other.start("aggregate", environment=environment)
    lab.require(await other.witness.until(ends, STUCK_S), f"{len(other.witness.seen)} of {ends} decided anew")
    await other.stop_services()
    lab.wrong += await other.unstable(await other.topics())
    return await _bytes(other)


async def _bytes(stream: Stream) -> dict[str, str]:
    """A hash of each topic's keys and values: epochs and states in their order, decisions by their origin."""
    prefix = f"{stream.project.settings.project.prefix}.".encode()
    hashes: dict[str, str] = {}
    for name in ("epochs", "state", "decisions"):
        found = await read_all(stream.kafka.servers, {stream.project.topic(name): PARTITIONS})
        found = [record for record in found if not (record.key or b"").startswith(WINDOWS_KEY)]
        if name == "decisions":
            found.sort(key=lambda record: end_of(record).origin or ("", 0, 0))
        else:
            found.sort(key=lambda record: (record.partition, record.offset))
        digest = blake2b(digest_size=16)
        for record in found:
            digest.update(orjson.dumps([record.partition, (record.key or b"").hex()]))
            digest.update(record.value)
        assert not any(prefix in record.value for record in found) or name == "decisions"
        hashes[name] = f"{len(found)} {digest.hexdigest()}"
    return hashes


async def _main(plan: Plan) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="mira-crash-") as folder:
        kafka = Kafka(Path(folder) / "kafka")
        await kafka.start()
        try:
            return await run(kafka, Path(folder), plan, print)
        finally:
            await kafka.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    result = asyncio.run(_main(Plan(documents=asked.documents, kills=asked.kills, seed=asked.seed)))
    print(orjson.dumps(result).decode())
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
