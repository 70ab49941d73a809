"""Looks at and stops the broker of a data directory from any process."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final, Literal

import msgspec

from mira_stream.broker_local.data_dir import DataDir, Runtime, started_ticks
from mira_stream.broker_local.readiness import prove
from mira_stream.errors import DependencyError, MiraError

STOP_S: Final = 10.0
KILL_S: Final = 5.0
PROVE_S: Final = 8.0
LOOK_S: Final = 0.05


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a data directory's broker."""

    state: Literal["healthy", "unhealthy", "stopped"]
    data_dir: str
    broker: Runtime | None = None
    problem: str | None = None


def status(data_dir: Path) -> Status:
    """healthy: a transaction went through it just now; unhealthy: a process holds the data directory, but not that."""
    data = DataDir(data_dir)
    if not data.is_held():
        return Status(state="stopped", data_dir=str(data.root))
    runtime = data.read_runtime()
    if runtime is None:
        return Status(state="unhealthy", data_dir=str(data.root), problem="it is being started")
    try:
        prove(runtime.bootstrap_servers, PROVE_S)
    except MiraError as error:
        return Status(state="unhealthy", data_dir=str(data.root), broker=runtime, problem=error.cause)
    return Status(state="healthy", data_dir=str(data.root), broker=runtime)


def stop(data_dir: Path) -> bool:
    """TERM, KILL after ten seconds; returns when nothing holds the data directory. False if nothing did.

    What a start has left behind is ended, too. Raises DependencyError if it is just being started, or cannot be ended.
    """
    data = DataDir(data_dir)
    if not data.is_held():
        data.forget_runtime()
        return False
    runtime = data.read_runtime()
    if runtime is None and (starter := data.starter()) is not None:
        raise DependencyError(
            "broker_starting",
            f"{data.root}: pid {starter} is starting the broker",
            f"try again in a moment, or end the start (kill {starter}): it takes its broker with it",
        )
    for number, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
        found = _processes(data, runtime)
        _send(found, number)
        if _is_let_go(data, patience_s):
            data.forget_runtime()
            return True
    raise DependencyError(
        "broker_not_stopped", f"{data.root} is still held after SIGKILL to pid {found}", "look what holds it"
    )


def _processes(data: DataDir, runtime: Runtime | None) -> list[int]:
    """Only the process that runtime.json means: its pid may have been given to another one since."""
    if runtime is None:
        return data.left_behind()
    return [runtime.pid] if started_ticks(runtime.pid) == runtime.pid_started else []


def _send(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _is_let_go(data: DataDir, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while data.is_held():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True
