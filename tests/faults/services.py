"""Service processes of one stream: started, killed, frozen, told to stop; their logs say what they did."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LOOK_S: Final = 0.02
PATIENCE_S: Final = 120.0
"""How long a service may take to come to where the suite waits for it: the machine may be busy. What a fault allows in
seconds is measured apart."""


class Service:
    """One process of `python -m tests.faults.worker`, standard error in a file."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = arguments[0]
        self.log = log
        self.started = time.monotonic()
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker", *arguments],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            self._process.send_signal(number)

    def awaits(self, number: signal.Signals) -> bool:
        """Whether a signal was sent and has not come yet."""
        rows = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        masks = [int(row.split()[1], 16) for row in rows if row.startswith(("SigPnd", "ShdPnd"))]
        return any(mask >> (number - 1) & 1 for mask in masks)

    async def wait(self, timeout_s: float) -> int | None:
        """Its exit code; None if it still runs after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.exit_code is None and time.monotonic() < deadline:  # noqa: ASYNC110 - another process
            await asyncio.sleep(LOOK_S)
        return self.exit_code

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.wait(10.0)

    async def stop(self, timeout_s: float = PATIENCE_S) -> int | None:
        """SIGTERM; its exit code."""
        self.send(signal.SIGTERM)
        return await self.wait(timeout_s)

    async def wait_stopped(self, timeout_s: float) -> bool:
        """Until the process is frozen by SIGSTOP."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.exit_code is None:
            if Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                return True
            await asyncio.sleep(LOOK_S)
        return False

    def said(self, words: str) -> int:
        """How many lines of its log hold these words."""
        return sum(words in line for line in self.log.read_text(errors="replace").splitlines())

    async def until_said(self, words: str, timeout_s: float, times: int = 1) -> bool:
        return await until(lambda: self.said(words) >= times, timeout_s)

    def memory_bytes(self) -> int:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[-600:]


async def until(holds: Callable[[], bool], timeout_s: float) -> bool:
    """Until it holds; False if that does not come."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(LOOK_S)
    return True


def is_alive(pid: int) -> bool:
    """Whether the process runs; what is only left of one does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found
