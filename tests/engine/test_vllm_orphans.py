"""vLLM's engine core and worker end with the process that starts them, even in the middle of the start."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mira_stream.vllm_engine.guardian import KEEP_ENVIRONMENT, MARK, marked

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

SERVING = Path(__file__).parent / "serving.py"


def wait_until(condition: Callable[[], bool]) -> None:
    """For what stays once it is there; pytest ends a wait for what never comes."""
    while not condition():
        time.sleep(0.1)


@contextmanager
def serving(student: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that starts an engine and holds it, and the mark of its children."""
    environment = {name: value for name, value in os.environ.items() if name not in (MARK, KEEP_ENVIRONMENT)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, str(SERVING), str(student)], stdout=subprocess.PIPE, text=True, env=environment
    ) as starter:
        assert starter.stdout is not None
        mark = starter.stdout.readline().strip()
        yield starter, mark
        starter.wait()
    wait_until(lambda: not marked(mark))


def test_a_ready_engine_ends_with_its_killed_process(random_student: Path) -> None:
    with serving(random_student) as (starter, mark):
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
        assert len(marked(mark)) == 2  # the engine core and its worker
        starter.kill()


def test_an_engine_that_is_starting_ends_with_its_interrupted_process(random_student: Path) -> None:
    with serving(random_student) as (starter, mark):
        wait_until(lambda: len(marked(mark)) == 2 or starter.poll() is not None)
        assert starter.poll() is None
        starter.send_signal(signal.SIGINT)
