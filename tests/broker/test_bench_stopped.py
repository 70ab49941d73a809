"""A benchmark that is told to stop: it ends soon, and leaves neither a process nor a folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]
BENCH = Path(__file__).resolve().parents[2] / "bench"
END_S = 200.0
"""On a machine that does much else; all turns would take hours."""


def processes(of: Path) -> list[str]:
    """Command lines that name the folder."""
    return [line for line in _command_lines() if str(of) in line]


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue


@pytest.mark.parametrize(
    ("command", "told", "number"),
    [  # of so many turns that it is at work still, whenever it is told
        ("release.py --documents 10000 --repeats 1000 --only alone --only release", "alone:", signal.SIGINT),
        ("flow.py --part cost --side pass --side flow --documents 5000 --repeats 1000", "pass:", signal.SIGTERM),
    ],
)
def test_it_ends_and_leaves_nothing(tmp_path: Path, command: str, told: str, number: signal.Signals) -> None:
    script, *arguments = command.split()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, BENCH / script, *arguments], stderr=subprocess.PIPE, env=environment, text=True
    ) as program:
        assert program.stderr is not None
        assert any(told in line for line in program.stderr), "it came to its first turn"
        assert any("kafka" in line for line in processes(tmp_path))
        program.send_signal(number)
        said = program.communicate(timeout=END_S)[1]
    assert program.returncode == 130
    assert "stopped: nothing of this run is kept" in said
    assert not processes(tmp_path)
    assert not list(tmp_path.iterdir())
