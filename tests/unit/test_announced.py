"""PROJECT/run/services.json."""

from pathlib import Path

import orjson

from mira_stream.cli.announced import Announced, announced
from mira_stream.demo.supervise import free_ports


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


def test_free_ports_differ() -> None:
    assert len(set(free_ports(50))) == 50
