"""Benchmarks that start a Kafka of their own, run as files in small: that they end, and what their last line is of."""

from pathlib import Path

import pytest

from tests.bench_files import last_line

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]


def test_one_aggregator_beside_aiokafka_alone(tmp_path: Path) -> None:
    found = last_line(tmp_path, "aggregator.py", "--cards", "400", "--sources", "20", "--repeats", "1")
    assert (found["cards"], found["sources"], found["repeats"]) == (400, 20, 1)
    rates = [found[f"{side}_cards_per_s"] for side in ("aggregator", "limit")]
    assert min(rates) > 1, "also where all is over before the first look at it"
    assert found["ratio"] == pytest.approx(rates[0] / rates[1], rel=0.01)
    assert found["restore_seconds"] > 0


def test_documents_released_beside_asyncio_alone(tmp_path: Path) -> None:
    small = ("--documents", "300", "--document-s", "0.005", "--in-flight", "32", "--repeats", "1")
    found = last_line(tmp_path, "release.py", *small, "--only", "alone", "--only", "release")
    assert (found["documents"], found["ideal_per_s"]) == (300, 6_400)
    assert "members" not in found


def test_clients_that_post_one_by_one(tmp_path: Path) -> None:
    found = last_line(tmp_path, "posting.py", "--clients", "2", "--seconds", "0.5", "--repeats", "1")
    assert [one["side"] for one in found["sides"]] == ["gathering", "no gathering", "transactions"]
    assert all(one["rate"] > 0 for one in found["sides"])
    assert next(one["ratio"] for one in found["sides"] if one["side"] == "no gathering") == 1


def test_records_passed_on_beside_aiokafka_alone(tmp_path: Path) -> None:
    sides = ("aiokafka alone", "mira-stream's runner")
    only = [word for side in sides for word in ("--only", side)]
    small = ("--part", "pass", "--records", "2000", "--waiting-records", "200", "--repeats", "1", "--rest-s", "0")
    found = last_line(tmp_path, "peers.py", *small, *only)
    assert set(found["pass_0"]) == {*sides}
    assert set(found["pass_0.05"]) == {sides[1]}
    for one in (*found["pass_0"].values(), *found["pass_0.05"].values()):
        assert (one["failed"], one["lost"]) == ("", [0, 0])
        assert one["killed_at"] > 0
        assert one["per_s"] > 0
