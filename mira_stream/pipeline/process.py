"""One step of the pipeline as a process: what it says is shown and kept, it is stopped gently, and its end is told."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from mira_stream.errors import CheckFailed, ConfigError, DataLossError, DependencyError, MiraError, UsageError
from mira_stream.pipeline.steps import Step

STOP_NOW_S: Final = 10.0
"""So long after it was told a second time."""
TAIL_LINES: Final = 8
LINE_BYTES_MAX: Final = 2**20
ERRORS: Final[dict[int, type[MiraError]]] = {
    kind.exit_code: kind for kind in (UsageError, ConfigError, DependencyError, DataLossError, CheckFailed)
}


class StepProcess:
    """`log`: the file that keeps what it says; `say` shows it, line by line."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, say: Callable[[str], None]) -> None:
        self._process = process
        self._log = log
        self._say = say

    @classmethod
    async def start(
        cls, arguments: Sequence[str], environment: Mapping[str, str], log: Path, say: Callable[[str], None]
    ) -> "StepProcess":
        """A Python process of these arguments, in a process group of its own."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True, limit=LINE_BYTES_MAX, env=environment,
        )  # fmt: skip
        return cls(process, log, say)

    @property
    def exit_code(self) -> int:
        """Of one that has ended."""
        return self._process.returncode or 0

    async def follow(self) -> tuple[dict[str, Any], list[str]]:
        """What the command printed as its result, and the last lines of its talk."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        output = asyncio.create_task(self._process.stdout.read())
        tail: list[str] = []
        try:
            with self._log.open("ab") as log:
                while line := await _line(self._process.stderr):
                    log.write(line)
                    log.flush()
                    text = line.decode(errors="replace").rstrip()
                    if text:
                        tail = [*tail[1 - TAIL_LINES :], text]
                        self._say(text)
            printed = await output
            await self._process.wait()
        finally:
            output.cancel()
        last = printed.strip().rpartition(b"\n")[2]
        try:
            result = orjson.loads(last) if last else {}
        except orjson.JSONDecodeError:
            result = {}
        return (result if isinstance(result, dict) else {}), tail

    async def stop(self, first_s: float) -> None:
        """End a step that still runs: SIGTERM, which counts as Ctrl-C; SIGTERM again, when its time is over or somebody
        stops the pipeline again; then SIGKILL. What it says meanwhile is shown; what it started goes with it."""
        for patience_s in (first_s, STOP_NOW_S):
            if self._process.returncode is not None:
                return
            _signal(self._process, signal.SIGTERM)
            with suppress(Exception, asyncio.CancelledError):
                async with asyncio.timeout(patience_s):
                    await self._follow_to_the_end()
        if self._process.returncode is None:
            _signal(self._process, signal.SIGKILL)
            await self._process.wait()

    async def _follow_to_the_end(self) -> None:
        """Where what it says cannot be kept (a full disk), it has its time all the same: it is thrown away."""
        try:
            await self.follow()
        except Exception:
            await self._process.communicate()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; of one over LINE_BYTES_MAX at most its end. Empty at the end."""
    try:
        return await stream.readline()
    except ValueError:
        return f"(a line of over {LINE_BYTES_MAX:,} bytes is left out)\n".encode()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def failure(step: Step, code: int, tail: list[str], log: Path) -> MiraError:
    """The step's own error in its own kind: its last lines say what happened and what to do."""
    again = "run the pipeline again: it goes on here"
    if code < 0:
        name = signal.Signals(-code).name
        return DependencyError("step_killed", f"{step.name} was ended by {name}", f"see that there is memory; {again}")
    said = next(
        (line for line in reversed(tail) if line.startswith("error ")), tail[-1] if tail else f"exit code {code}"
    )
    fixes = [line.strip().removeprefix("do: ") for line in tail if line.strip().startswith("do: ")]
    kind = ERRORS.get(code, DependencyError)
    return kind(
        "step_failed",
        f"{step.name}: {said.removeprefix('error ')}",
        f"{fixes[-1] if fixes else f'read {log}'}; then {again}",
    )
