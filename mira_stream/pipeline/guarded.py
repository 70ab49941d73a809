"""Whatever ends the pipeline ends its steps: a training left behind would write beside the one of the next run."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mira_stream.supervision import guard


@contextmanager
def guarded() -> Iterator[dict[str, str]]:
    """The environment for processes that end with this one, also if it is killed."""
    run = f"pipeline.{os.getpid()}.{time.monotonic_ns()}"
    watching = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, run],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a signal to the terminal's process group must not end it first
    )
    try:
        yield {**os.environ, guard.MARK: run, "PYTHONUNBUFFERED": "1"}
    finally:
        if watching.stdin is not None:
            watching.stdin.close()
        watching.wait()
