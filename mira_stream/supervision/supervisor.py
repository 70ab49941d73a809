"""Services as child processes: each in a session of its own, watched, and none left behind."""

import asyncio
import io
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mira_stream.errors import ConfigError, DataLossError, DependencyError, MiraError, UsageError
from mira_stream.supervision import guard

TERM_S: Final = 20.0
"""How long a service may drain before it is killed."""
HURRY_S: Final = 3.0
"""The same when the run is interrupted."""
LOG_TAIL_LINES: Final = 12
SAID_BY_ERRORS: Final = ("error ", "bug: ")
"""So the line begins with which a command says what it ended by."""
LOG_LINES_READ: Final = 500
LINE_CHARACTERS_MAX: Final = 1_000
EXIT_CODES: Final[dict[int, type[MiraError]]] = {
    kind.exit_code: kind for kind in (UsageError, ConfigError, DependencyError, DataLossError)
}


class Child:
    """One service. `ended` is done when the process has ended; its result is the return code.

    `said_before`: bytes of the log that were there when it started, which are not its own. `life`: the mark that it and
    all it starts carry.
    """

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        log: Path,
        *,
        may_end: bool,
        said_before: int,
        vital: bool = True,
        life: str = "",
    ) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.may_end = may_end
        self.said_before = said_before
        self.vital = vital
        self.life = life
        self.ended = asyncio.ensure_future(process.wait())

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the child and what it started."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def kill(self) -> None:
        """SIGKILL the same."""
        self.signal_group(signal.SIGKILL)

    def kill_left(self) -> list[int]:
        """SIGKILL what it started and what still lives, in whatever group (vLLM's engines hold the GPU's memory); their
        process ids."""
        left = guard.marked(self.life, guard.LIFE)
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return left

    @property
    def code(self) -> int | None:
        """None while it has not ended."""
        return self.ended.result() if self.ended.done() else None

    def failed(self) -> bool:
        """Whether it has ended in a way nobody asked for, and the run cannot do without it."""
        return self.vital and self.ended.done() and not (self.may_end and self.code == 0)

    def __repr__(self) -> str:
        return f"<Child {self.name} pid {self.process.pid}>"


class Supervisor:
    """Starts, watches and stops the services of one run.

    1. `async with` starts the guard, 2. `start` starts services, 3. `check` raises when one has died,
    4. leaving the block stops what still runs (TERM, then KILL) and sweeps the run's mark.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.run = secrets.token_hex(8)
        self.children: dict[str, Child] = {}
        self._lives = 0
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the run gets: the caller's environment and the run's mark."""
        # SPT_NOENV: a process that renames itself (vLLM's do) must not write its title over the mark.
        return {**os.environ, guard.MARK: self.run, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1"}

    async def __aenter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        self._guard = subprocess.Popen(  # noqa: ASYNC220 - must stand before anything can be cancelled
            [sys.executable, "-I", "-S", guard.__file__, self.run],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # When something went wrong nobody waits for a drain: exactly-once does not need one.
        patience_s = TERM_S if kind is None else HURRY_S
        try:
            await self.stop(*self.children, term_s=patience_s)
        finally:
            guard.stop_all(self.run, term_s=patience_s)
            if self._guard is not None and self._guard.stdin is not None:
                self._guard.stdin.close()
                self._guard.wait()

    async def start(self, name: str, *arguments: str, may_end: bool = False, vital: bool = True) -> Child:
        """Run `python -m mira_stream <arguments>`; its output is appended to logs/<name>.log."""
        path = self.logs / f"{name}.log"
        self._lives += 1
        life = f"{self.run}.{self._lives}"
        with path.open("ab") as log:
            said_before = os.fstat(log.fileno()).st_size
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "mira_stream",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**self.environment, guard.LIFE: life},
            )
        child = Child(name, process, path, may_end=may_end, said_before=said_before, vital=vital, life=life)
        self.children[name] = child
        return child

    def check(self) -> None:
        """Raise if a service has died: an error of its own kind, with its own words."""
        for child in self.children.values():
            if child.failed():
                raise service_died(child)

    async def kill(self, name: str) -> None:
        """SIGKILL a service and everything it started; it counts as stopped from now on."""
        child = self.children.pop(name)
        child.kill()
        await child.ended

    async def stop(self, *names: str, term_s: float = TERM_S) -> None:
        """Stop services side by side: TERM, and KILL for those that have not drained after `term_s`."""
        children = [self.children.pop(name) for name in names]
        for child in children:
            child.signal_group(signal.SIGTERM)
        if children:
            await asyncio.wait([child.ended for child in children], timeout=term_s)
        for child in children:
            child.kill()
        if children:
            await asyncio.wait([child.ended for child in children], timeout=guard.KILLED_S)

    def kill_all(self) -> None:
        """SIGKILL everything at once, without the event loop: the second Ctrl-C."""
        guard.stop_all(self.run, term_s=0.0)


def service_died(child: Child) -> MiraError:
    """The error that says which service died, how, and why by its own words; of the kind its exit code names."""
    said = last_words(child.log, child.said_before) or ["(it said nothing)"]
    kind = DependencyError if child.code is None else EXIT_CODES.get(child.code, DependencyError)
    return kind(
        "service_died", f"{child.name} ended with {how_it_ended(child)}:\n" + "\n".join(said), f"read {child.log}"
    )


def how_it_ended(child: Child) -> str:
    """By which signal, or with which exit code; or that it has not."""
    if child.code is None:
        return "nothing, SIGKILL neither"
    return f"signal {signal.Signals(-child.code).name}" if child.code < 0 else f"exit code {child.code}"


def last_words(path: Path, begin: int = 0) -> list[str]:
    """The error a service ended with, as it wrote it; else the last lines of its log. Bytes before `begin` are not
    looked at: somebody else wrote them. Empty if the log was taken away meanwhile."""
    try:
        with path.open("rb") as log:
            log.seek(begin)
            file = io.TextIOWrapper(log, encoding="utf-8", errors="replace")
            lines = [line.rstrip()[:LINE_CHARACTERS_MAX] for line in deque(file, LOG_LINES_READ)]
    except OSError:
        return []
    for number in range(len(lines) - 2, -1, -1):
        if lines[number].startswith(SAID_BY_ERRORS) and lines[number + 1].startswith("  do: "):
            return lines[number : number + 2]
    return lines[-LOG_TAIL_LINES:]


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    return free_ports(1)[0]


def free_ports(number: int) -> list[int]:
    """So many different ports of 127.0.0.1 that nobody listens on now."""
    with ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(number)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
