"""A peer's program as a process of its own: when it began and ended by its own word, what memory it took, its end."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import orjson

from mira_stream.benching.machine import proportional_mib

SAMPLE_S: Final = 0.5
LOOK_S: Final = 0.05
TAIL: Final = 600


class Program:
    """`python PROGRAM FOLDER`. The program reads FOLDER/job.json, writes the wall clock (s) into FOLDER/started when
    it begins with the first document and into FOLDER/ended when the last result is stored. Used as a context: its
    process group is gone afterwards."""

    def __init__(self, python: Path, program: Path, folder: Path, job: Mapping[str, Any]) -> None:
        self._command = (python, program, folder)
        self.folder = folder
        self.peak_mib = self.broker_mib = 0.0
        self._process: asyncio.subprocess.Process | None = None
        self._sampling: asyncio.Task[None] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "job.json").write_bytes(orjson.dumps(job))
        for name in ("started", "ended", "listens"):
            (folder / name).unlink(missing_ok=True)

    async def __aenter__(self) -> Self:
        with (self.folder / "log.txt").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._sampling is not None:
            self._sampling.cancel()
        await self.end(signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def sample(self, beside: Iterable[int] = (), brokers: Iterable[int] = ()) -> None:
        """Watch the memory of its process tree together with the trees of `beside` (a server that works for it), and,
        apart from them, that of `brokers`."""
        self._sampling = asyncio.create_task(self._sample((self.pid, *beside), tuple(brokers)))

    async def _sample(self, roots: tuple[int, ...], brokers: tuple[int, ...]) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, await asyncio.to_thread(proportional_mib, roots))
            if brokers:
                self.broker_mib = max(self.broker_mib, await asyncio.to_thread(proportional_mib, brokers))
            await asyncio.sleep(SAMPLE_S)

    async def wait(self, limit_s: float) -> int | None:
        """Its exit status; None if it is still at work after `limit_s`."""
        assert self._process is not None
        with suppress(TimeoutError):
            return await asyncio.wait_for(self._process.wait(), limit_s)
        return None

    async def until(self, reached: Callable[[], Awaitable[bool]], limit_s: float, pause_s: float = LOOK_S) -> bool:
        """Whether `reached` came true before the program ended and before `limit_s`. It is asked with a pause between
        (0: one that waits by itself)."""
        assert self._process is not None
        deadline = time.monotonic() + limit_s
        while self._process.returncode is None and time.monotonic() < deadline:
            if await reached():
                return True
            await asyncio.sleep(pause_s)
        return await reached()

    async def end(self, number: signal.Signals) -> None:
        """A signal to all of its process group, until the program is gone."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 60.0)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def is_over(self) -> bool:
        """Whether all of its results are stored, or its process has ended."""
        return self._noted("ended") is not None or self._process is None or self._process.returncode is not None

    @property
    def seconds(self) -> float | None:
        """From its first document to its last result; None if it has not come to the end."""
        began, ended = self._noted("started"), self._noted("ended")
        return None if began is None or ended is None else ended - began

    @property
    def started(self) -> float | None:
        return self._noted("started")

    def _noted(self, name: str) -> float | None:
        try:
            return float((self.folder / name).read_text())
        except (OSError, ValueError):
            return None

    def last_words(self) -> str:
        lines = (self.folder / "log.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1][:TAIL] if lines else ""
