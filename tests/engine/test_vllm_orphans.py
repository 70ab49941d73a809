"""vLLM's engine core and worker end with the process that starts them, even in the middle of the start."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from mira_stream.vllm_engine.guardian import KEEP_ENVIRONMENT, MARK, marked

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

SERVING = Path(__file__).parent / "serving.py"


def wait_until(condition: Callable[[], bool]) -> None:
    """For what stays once it is there; pytest ends a wait for what never comes."""
    while not condition():
        time.sleep(0.1)


def ignores_ctrl_c(process: int) -> bool:
    (blocked,) = [
        int(line.split()[1], 16)
        for line in Path(f"/proc/{process}/status").read_text().splitlines()
        if line.startswith("SigBlk")
    ]
    return bool(blocked >> (signal.SIGINT - 1) & 1)


@contextmanager
def serving(student: Path, stderr: TextIO | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that starts an engine and holds it, and the mark of its children."""
    environment = {name: value for name, value in os.environ.items() if name not in (MARK, KEEP_ENVIRONMENT)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, str(SERVING), str(student)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=environment,
        start_new_session=True,
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
        found = marked(mark)
        assert len(found) == 2  # the engine core and its worker
        assert all(map(ignores_ctrl_c, found)), "or it would end them under what is in flight"
        starter.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_interrupted_ends_without_a_word_of_its_children(
    random_student: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C strikes all processes of the terminal."""
    said = tmp_path / "said"
    with said.open("w") as stderr, serving(random_student, stderr) as (starter, mark):
        wait_until(lambda: len(marked(mark)) == 2 or starter.poll() is not None)
        assert starter.poll() is None
        if number == signal.SIGINT:
            os.killpg(starter.pid, number)
        else:
            starter.send_signal(number)
    assert starter.returncode == 0
    lines = [line for line in said.read_text().splitlines() if not line.startswith("Triton is installed")]
    assert lines == []


def test_an_engine_that_is_starting_ends_with_its_interrupted_process(random_student: Path) -> None:
    with serving(random_student) as (starter, mark):
        wait_until(lambda: len(marked(mark)) == 2 or starter.poll() is not None)
        assert starter.poll() is None
        starter.send_signal(signal.SIGINT)
