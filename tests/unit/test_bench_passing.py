"""When a peer that passes records on has ended: as soon as its reader has seen the last of them."""

import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from bench.peering import processes, topics
from bench.peering.passing import Passing
from bench.peering.processes import Program
from bench.peering.topics import Reader

DUE = (100.30, 100.32)
"""The second record comes while a look with a pause of 50 ms would pause."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.left = list(DUE)

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def getmany(self, timeout_ms: int) -> dict[str, list[float]]:
        """As aiokafka's: at once what is there, else what comes first within its timeout."""
        self.now = max(self.now, min([*self.left, self.now + timeout_ms / 1000]))
        came = [due for due in self.left if due <= self.now]
        self.left = self.left[len(came) :]
        return {"partition": came} if came else {}


class Started(Program):
    """A program that began at 100.0 and is never seen to end."""

    async def __aenter__(self) -> Self:
        self._process: Any = SimpleNamespace(returncode=None)
        return self

    async def __aexit__(self, *error: object) -> None: ...

    def sample(self, *given: Any) -> None: ...

    async def end(self, number: signal.Signals) -> None: ...

    @property
    def started(self) -> float:
        return 100.0


async def test_a_turn_ends_when_the_reader_has_seen_the_last_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    for module in (processes, topics):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    monkeypatch.setattr(topics, "AIOKafkaConsumer", lambda *_, **__: clock)
    name: Any = repr
    reader = Reader("127.0.0.1:9", "topic", name)
    passing = Passing("127.0.0.1:9", "p", tmp_path, tmp_path, 1, 60.0)
    program = Started(Path("python"), Path("program"), tmp_path, {})
    assert await passing._once(program, reader, len(DUE), signal.SIGTERM) == pytest.approx(0.32)
