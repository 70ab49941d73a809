"""Every benchmark is a program of its own, which reads its arguments before it imports what takes long."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.models
ROOT = Path(__file__).resolve().parents[2]
STARTS = """
import json, os, runpy, sys
for script, arguments, code in json.loads(sys.argv[1]):
    sys.path[0], sys.argv = os.path.dirname(script), [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert (ended.code or 0) == code, (script, arguments, ended.code)
    else:
        raise AssertionError(f"{script} {arguments} goes on")
    slow = {"torch", "transformers", "vllm", "matplotlib"} & sys.modules.keys()
    assert not slow, (script, arguments, slow)
"""
REFUSED = [
    ("aggregator.py --cards 0", "argument --cards: '0' will not do, give a whole number of at least 1"),
    ("cascade.py --documents x", "'x' will not do, give a whole number of at least 300"),
    ("cascade_demo.py --groups none", "no group 'none': use one of agent, qa, text"),
    ("dsir.py --rounds -1", "'-1' will not do"),
    ("flow.py --part none", "invalid choice: 'none' (choose from 'cost'"),
    ("flow.py --plot /proc/none/flat.svg", "name another one"),
    ("flow.py --profile . --part parse", "--profile is of --part cost"),
    ("flow.py --part flat --side pass", "--part flat is of flow and scored and scored-http"),
    ("judge_learnability.py --heldout 1", "at least 2"),
    ("modes.py --repeats 0", "at least 1"),
    ("modes.py --kinds cascade", "invalid choice"),
    ("modes.py --project .", "name a MIRA project directory"),
    ("modes.py --groups none", "use one of agent, qa, text"),
    ("peers.py --group none", "use one of agent, qa, text"),
    ("peers.py --part judge --only Quix\u00a0Streams", "--only names no side of part judge, name one of LLM.generate"),
    ("peers.py --environments /proc/none", "cannot be made"),
    ("posting.py --seconds nan", "'nan' will not do"),
    ("release.py --only none", "choose from 'alone'"),
    ("release.py --profile .", "is a folder, name a file"),
    ("retention_accuracy.py --many -1", "at least 0"),
    ("selection_quality.py --quick --seeds 3", "--seeds would be ignored, --quick has 2"),
    ("selection_quality.py --project /none", "there is no folder /none, name one that is there"),
    ("stream_vs_engine.py --documents 1", "ask for more"),
    ("watch_false_alarms.py --days 0", "at least 1"),
]


@pytest.mark.timeout(900)
def test_every_benchmark_starts_as_a_file(tmp_path: Path) -> None:
    """As bench/README.md says: with nothing but the installed package on the path. In one process: a process each took
    as long as a hundred other tests."""
    scripts = sorted(str(path) for path in (ROOT / "bench").glob("*.py"))
    ended = starts([(script, ["--help"], 0) for script in scripts], tmp_path)
    assert ended.stdout.count("usage:") == len(scripts)
    assert "of a stream, behind its held-out set (default: 2000)" in ended.stdout


@pytest.mark.timeout(900)
def test_nonsense_is_refused_in_one_sentence_before_anything_is_started(tmp_path: Path) -> None:
    """Also what only the project can tell: its groups, and that it has students."""
    asked = [said.split(" ") for said, _ in REFUSED]
    assert {script for script, *_ in asked} == {path.name for path in (ROOT / "bench").glob("*.py")}
    of = [(str(ROOT / "bench" / one[0]), [word.replace("\u00a0", " ") for word in one[1:]], 2) for one in asked]
    ended = starts(of, tmp_path)
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == len(REFUSED), ended.stderr
    for line, (said, why) in zip(lines, REFUSED, strict=True):
        assert line.startswith(f"{said.partition(' ')[0]}: ")
        assert why in line


def starts(asked: list[tuple[str, list[str], int]], folder: Path) -> subprocess.CompletedProcess[str]:
    """Each (script, arguments) ends with its code."""
    ended = subprocess.run(
        [sys.executable, "-c", STARTS, json.dumps(asked)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended
