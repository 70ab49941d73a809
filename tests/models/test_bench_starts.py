"""Every benchmark is a program of its own; most import torch."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.models
ROOT = Path(__file__).resolve().parents[2]
STARTS = """
import os, runpy, sys
for script in sys.argv[1:]:
    sys.path[0], sys.argv = os.path.dirname(script), [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, script
    else:
        raise AssertionError(f"{script} --help goes on")
"""


@pytest.mark.timeout(900)
def test_every_benchmark_starts_as_a_file(tmp_path: Path) -> None:
    """As bench/README.md says: with nothing but the installed package on the path. In one process, for most of them
    import torch: a process each took as long as a hundred other tests."""
    scripts = sorted(str(path) for path in (ROOT / "bench").glob("*.py"))
    ended = subprocess.run(
        [sys.executable, "-c", STARTS, *scripts], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("usage:") == len(scripts)
