"""Ends the processes that one thread has started, and theirs: those of an engine that starts, not its neighbours'."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from mira_stream.vllm_engine.guardian import MARK, marked


def end_started_by(thread: int) -> None:
    """SIGKILL, before anything in them can complain. One that was just being spawned is not found yet, and where the
    kernel does not tell what a thread started (CONFIG_PROC_CHILDREN), none is: they end with this process."""
    ours = set(marked(os.environ[MARK]))
    for process in _children(f"{os.getpid()}/task/{thread}"):
        if process in ours:
            _end(process)


def _end(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGSTOP)  # so that it starts no more of them
        for child in _children(f"{process}/task/*"):
            _end(child)
        os.kill(process, signal.SIGKILL)


def _children(tasks: str) -> list[int]:
    found = []
    for path in Path("/proc").glob(f"{tasks}/children"):
        with suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found
