"""Benchmarks that need no broker, run as files in small: that their figures are of what ran, not what they are."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.cascade_parts.streams import KINDS

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]
BENCH = Path(__file__).resolve().parents[2] / "bench"


def last_line(folder: Path, script: str, *arguments: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, BENCH / script, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    found: dict[str, Any] = orjson.loads(ended.stdout.splitlines()[-1])
    return found


def test_our_dsir_is_its_authors(tmp_path: Path) -> None:
    found = last_line(tmp_path, "dsir.py", "--documents", "40", "--rounds", "1")
    assert found["identical"] is True
    assert found["documents"] == 40
    assert set(found["seconds"]) == {"ours", "data-selection"}


def test_a_probe_learns_some_of_the_feature_judge(tmp_path: Path) -> None:
    found = last_line(tmp_path, "judge_learnability.py", "--group", "text", "--train", "150", "--heldout", "60")
    assert len(found["cells"]) == 2 * 15
    for cell in found["cells"].values():
        assert 1 / 10 <= cell["top"] <= 1
        assert 1 <= cell["levels"] <= 10
    learnt = [
        cell["rho"] for cell in found["cells"].values() if cell["rho"] is not None and not math.isnan(cell["rho"])
    ]
    assert max(learnt) > 0.3


def test_a_simulated_cascade_is_held_to_its_goals(tmp_path: Path) -> None:
    found = last_line(tmp_path, "cascade.py", "--streams", "2", "--others", "1", "--documents", "300")
    assert [one["goal"] for one in found["goals"]] == ["savings at gain 0.98", "savings at gain 0.96", "bound holds"]
    assert {row["kind"] for row in found["rows"]} == {kind.name for kind in KINDS}
    assert {row["arm"]: row["streams"] for row in found["rows"] if row["kind"] == KINDS[0].name} == {
        "cascade": 2, "cascade, bound on average": 1, "as many by lot": 1, "cheap alone": 1,
    }  # fmt: skip
