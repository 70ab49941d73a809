"""PROJECT/run/services*.json, and being the only one of a command."""

import os
import subprocess
from pathlib import Path

import orjson
import pytest

from mira_stream.cli.announced import Announced, alone, announced, announced_alone, announced_dashboard, dashboard_url
from mira_stream.errors import DependencyError
from mira_stream.observing.services import running
from mira_stream.supervision.supervisor import free_ports


def test_services_are_announced_while_they_run(tmp_path: Path) -> None:
    with announced(tmp_path, [Announced("score", "http://127.0.0.1:1", 2)]) as path:
        assert path == tmp_path / "run" / "services.json"
        assert orjson.loads(path.read_bytes()) == {
            "schema": "services.v1",
            "services": [{"name": "score", "url": "http://127.0.0.1:1", "pid": 2}],
        }
        assert [one.name for one in path.parent.iterdir()] == ["services.json"]
    assert not path.exists()


def test_what_another_one_announced_stays(tmp_path: Path) -> None:
    with announced(tmp_path, [Announced("score", "http://127.0.0.1:1", 2)]) as path:
        another = announced(tmp_path, [Announced("score", "http://127.0.0.1:3", 4)])
        another.__enter__()
    assert b"127.0.0.1:3" in path.read_bytes()
    another.__exit__(None, None, None)
    assert not path.exists()


def test_producers_are_found_beside_what_up_runs(tmp_path: Path) -> None:
    http = Announced("produce-http", "http://127.0.0.1:2", 3)
    watch = Announced("produce-watch@web:in/../coming", "http://127.0.0.1:3", 4)
    with announced(tmp_path, [Announced("score", "http://127.0.0.1:1", 2)]):
        with announced_alone(tmp_path, http), announced_alone(tmp_path, watch):
            assert running(tmp_path) == {"score": "http://127.0.0.1:1"} | {one.name: one.url for one in (http, watch)}
        assert running(tmp_path) == {"score": "http://127.0.0.1:1"}
    assert list((tmp_path / "run").iterdir()) == []


def test_a_project_that_cannot_be_written_to_keeps_nobody_from_running(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    with (
        announced_alone(tmp_path, Announced("produce-http", "http://127.0.0.1:2", 3)),
        alone(tmp_path, "produce http", "why"),
    ):
        assert running(tmp_path) == {}


def test_a_second_one_is_told_where_the_first_is(tmp_path: Path) -> None:
    with alone(tmp_path, "produce http", "why") as say:
        say("http://127.0.0.1:8086")
        with (
            pytest.raises(DependencyError, match="at http") as raised,
            alone(tmp_path, "produce http", "why"),
        ):
            pass
        assert raised.value.code == "already_running"
        with alone(tmp_path, "produce watch", "why"):
            pass
    with alone(tmp_path, "produce http", "why"):
        pass


def test_free_ports_differ() -> None:
    assert len(set(free_ports(50))) == 50


def test_of_two_dashboards_the_first_is_asked_and_goes_only_itself(tmp_path: Path) -> None:
    with announced_dashboard(tmp_path, "http://127.0.0.1:1"):
        with announced_dashboard(tmp_path, "http://127.0.0.1:2"):
            assert dashboard_url(tmp_path) == "http://127.0.0.1:1"
        assert dashboard_url(tmp_path) == "http://127.0.0.1:1"
    assert dashboard_url(tmp_path) is None


def test_a_dashboard_that_was_killed_is_not_asked(tmp_path: Path) -> None:
    """Its port may be another project's by now."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "run").mkdir()
    said = tmp_path / "run" / "dashboard.json"
    said.write_bytes(orjson.dumps({"name": "dashboard", "url": "http://127.0.0.1:1", "pid": ended.pid}))
    assert dashboard_url(tmp_path) is None
    with announced_dashboard(tmp_path, "http://127.0.0.1:2"):
        assert orjson.loads(said.read_bytes())["pid"] == os.getpid()
        assert dashboard_url(tmp_path) == "http://127.0.0.1:2"
    for broken in (b"", b"{}", b'{"url": "http://127.0.0.1:1"}', b'{"url": "u", "pid": 0}'):
        said.write_bytes(broken)
        assert dashboard_url(tmp_path) is None


def test_a_dashboard_runs_where_the_project_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    with announced_dashboard(tmp_path, "http://127.0.0.1:2"):
        assert dashboard_url(tmp_path) is None
