"""What a fault is given (a broker, a folder, a seed) and what comes out of it."""

import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.faults.kafka import Kafka
from tests.faults.stream import Counts, Stream


class Outcome(Struct, frozen=True, kw_only=True):
    """One fault under one seed. `gap_s`: the longest time without a new decision from the fault on."""

    fault: str
    seed: int
    passed: bool
    lost: int
    duplicated: int
    gap_s: float
    seconds: float
    said: str


class Lab:
    """Collects what a fault shows: requirements that do not hold, notes, and the final count. Not `timed`: how long
    anything took is measured and not judged, for a machine that does much else."""

    def __init__(self, kafka: Kafka, root: Path, fault: str, seed: int, *, timed: bool = True) -> None:
        self.kafka = kafka
        self._timed = timed
        self.fault, self.seed = fault, seed
        self.chance = random.Random(f"{fault}-{seed}")
        self.wrong: list[str] = []
        self.notes: list[str] = []
        self.gap_s = 0.0
        self.lost = self.duplicated = 0
        self._root = root
        self._streams: list[Stream] = []
        self._started = time.monotonic()

    @property
    def folder(self) -> Path:
        """A folder of this fault's own."""
        made = self._root / f"{self.fault}-{self.seed}"
        made.mkdir(parents=True, exist_ok=True)
        return made

    async def stream(self, **options: Any) -> Stream:
        """A stream of its own; it is closed when the fault is over."""
        number = len(self._streams)
        prefix = f"{self.fault.lower()}.s{self.seed}.{number}.{self.chance.randrange(16**6):06x}"
        stream = await Stream.create(self.kafka, self.folder / f"project-{number}", prefix, **options)
        self._streams.append(stream)
        return stream

    def require(self, holds: bool, said: str) -> None:
        """The fault's own pass line, or that the fault was reached at all."""
        if not holds:
            self.wrong.append(said)

    def note(self, said: str) -> None:
        self.notes.append(said)

    def gap(self, seconds: float, most_s: float | None = None, what: str = "gap") -> None:
        """A measured gap, and how long it may be."""
        self.gap_s = max(self.gap_s, seconds)
        if most_s is not None and self._timed:
            self.require(seconds <= most_s, f"{what} {seconds:.1f} s, at most {most_s:g} s")

    async def finish(self, stream: Stream, timeout_s: float = 120.0, *, audited: bool = True) -> Counts:
        """Wait for every document's end, stop the services, count."""
        expected = stream.fed - len(stream.deleted - {end.origin for end in stream.witness.seen})
        if not await stream.until_seen(expected, timeout_s):
            words = "; ".join(service.last_words() for service in stream.services if service.exit_code not in (0, -9))
            self.require(False, f"{len(stream.witness.seen)} of {expected} ended, none in {timeout_s:g} s: {words}")
        await stream.stop_services()
        counts = await stream.count(audited=audited)
        self.lost += counts.lost
        self.duplicated += counts.duplicated
        self.wrong += counts.wrong
        return counts

    async def close(self) -> None:
        for stream in self._streams:
            await stream.close()

    def outcome(self) -> Outcome:
        return Outcome(
            fault=self.fault,
            seed=self.seed,
            passed=not self.wrong and self.lost == 0 and self.duplicated == 0,
            lost=self.lost,
            duplicated=self.duplicated,
            gap_s=round(self.gap_s, 2),
            seconds=round(time.monotonic() - self._started, 1),
            said="; ".join([*self.wrong, *self.notes]),
        )


Case = Callable[[Lab], Awaitable[None]]


async def run_case(case: Case, kafka: Kafka, root: Path, fault: str, seed: int, *, timed: bool = True) -> Outcome:
    """Run one fault; whatever it raises is a failure of it, not the end of the suite."""
    lab = Lab(kafka, root, fault, seed, timed=timed)
    try:
        try:
            await case(lab)
        finally:
            await lab.close()
    except Exception as error:
        lab.wrong.append(f"{type(error).__name__}: {error}")
    return lab.outcome()
