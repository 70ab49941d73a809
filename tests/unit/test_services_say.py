"""What a service that takes a free port for its metrics says of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mira_stream.cli.services import serve
from mira_stream.config import load_project
from mira_stream.observing.services import running
from mira_stream.testing.broker import MemoryBroker


def test_a_service_that_announces_itself_says_where_its_metrics_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mira.toml").write_text("groups = {}\nsources = {}\n")
    monkeypatch.setattr("mira_stream.cli.connect.connect", lambda *_: MemoryBroker())
    found: dict[str, str] = {}

    async def work(*_: Any) -> None:
        found.update(running(tmp_path))
        await asyncio.sleep(0)

    serve("produce http", load_project(tmp_path, {}), None, 0, False, work, announce="produce-http")
    assert f"metrics: {found['produce-http']}/metrics\n" in capsys.readouterr().err
