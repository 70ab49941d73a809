"""Benchmarks run as a user runs them: as files."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import orjson

BENCH: Final = Path(__file__).resolve().parents[1] / "bench"


def last_line(folder: Path, script: str, *arguments: str) -> dict[str, Any]:
    """What a script says at its end, run in `folder`; it may miss its goals, but not fail."""
    ended = subprocess.run(
        [sys.executable, BENCH / script, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode in (0, 1), ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    found: dict[str, Any] = orjson.loads(ended.stdout.splitlines()[-1])
    return found
