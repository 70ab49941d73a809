"""Benchmarks that need no broker, run as files in small: that their figures are of what ran, not what they are."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import dsir
from bench.cascade import said
from bench.cascade_parts.streams import KINDS
from bench.command.arguments import Parser, positive
from bench.flowing.parsing import KINDS as REPLIES
from bench.judge_learnability import correlation
from tests.bench_files import last_line

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]


def test_our_dsir_is_its_authors(tmp_path: Path) -> None:
    found = last_line(tmp_path, "dsir.py", "--documents", "40", "--rounds", "1")
    assert found["identical"] is True
    assert found["documents"] == 40
    assert set(found["seconds"]) == {"ours", "data-selection"}


def test_neither_dsir_is_always_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def way(name: str) -> Callable[..., dsir.Found]:
        def run(raw: list[str], target: list[str]) -> dsir.Found:
            asked.append(name)
            return dsir.Found(np.ones(1), np.ones(1), np.array([3]), 1.0, 2.0 if name == "ours" else 8.0)

        return run

    for name in ("ours", "theirs"):
        monkeypatch.setattr(dsir, name, way(name))
    monkeypatch.setattr(dsir, "texts", lambda source, count: ["text"] * count)
    monkeypatch.setattr(sys, "argv", ["dsir.py", "--documents", "4", "--rounds", "2"])
    assert dsir.main() == 0
    assert asked == ["ours", "theirs", "theirs", "ours"]


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


def test_of_several_values_each_is_measured_once() -> None:
    parser = Parser("")
    parser.add_argument("--clients", type=positive, nargs="+", default=[1])
    assert parser.parse_args(["--clients", "4", "1", "4"]).clients == [4, 1]
    assert parser.parse_args([]).clients == [1]


def test_what_does_not_vary_correlates_with_nothing() -> None:
    same, rising = np.ones(3), np.arange(3.0)
    assert correlation(same, rising) is correlation(rising, same) is None
    assert correlation(rising, -rising) == pytest.approx(-1)


def test_a_goal_of_a_cascade_that_is_missed_says_of_how_many_streams_it_is() -> None:
    missed = {"goal": "savings at gain 0.98", "limit": 3.0, "figure": None, "met": False}
    assert said(missed, "; fewer") == "goal, savings at gain 0.98: none, at least 3.0: MISSED; fewer"
    assert said(missed | {"figure": 4.0, "met": True}, "; fewer").endswith("4.0, at least 3.0: met")


def test_a_simulated_cascade_is_held_to_its_goals(tmp_path: Path) -> None:
    found = last_line(tmp_path, "cascade.py", "--streams", "2", "--others", "1", "--documents", "300")
    assert [one["goal"] for one in found["goals"]] == ["savings at gain 0.98", "savings at gain 0.96", "bound holds"]
    assert {row["kind"] for row in found["rows"]} == {kind.name for kind in KINDS}
    assert {row["arm"]: row["streams"] for row in found["rows"] if row["kind"] == KINDS[0].name} == {
        "cascade": 2, "cascade, bound on average": 1, "as many by lot": 1, "cheap alone": 1,
    }  # fmt: skip


def test_the_parser_alone_needs_no_broker(tmp_path: Path) -> None:
    found = last_line(tmp_path, "flow.py", "--part", "parse", "--parsed", "50", "--repeats", "1")
    assert set(found["parse_per_s"]) == {*REPLIES}
    assert found["bench"] == "flow"
    assert found["machine"]["cores"] > 0


def test_false_alarms_are_counted_by_watch(tmp_path: Path) -> None:
    small = ("--sources", "1", "--labels", "20", "--days", "1", "--repeats", "1")
    found = last_line(tmp_path, "watch_false_alarms.py", *small)
    assert (found["cells"], found["labels_an_hour"]) == (15, 20)
    for watches in found["changes"].values():
        assert set(watches) == {"naive", "bounds", "monitor"}
        assert all(row["repeats"] == 1 for row in watches.values())
    assert found["changes"]["none"]["monitor"]["noticed"] == 0


def test_retention_is_held_to_its_goals(tmp_path: Path) -> None:
    small = ("--seeds", "1", "--sources", "1", "--documents", "2000", "--many", "0", "--new", "2")
    found = last_line(tmp_path, "retention_accuracy.py", *small)
    goals = [one for stream in found["streams"].values() for one in stream["goals"]]
    assert found["missed"] == sum(not one["met"] for one in goals) < len(goals)
    assert found["streams"]["stationary"]["error_mean"] < 5
