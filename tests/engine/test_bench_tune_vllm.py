"""`bench tune` on a real engine in small: that it runs, switches and ends; what wins is the machine's matter."""

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

import mira_stream.demo
from mira_stream.cli.main import main
from mira_stream.config import FILE_NAME, load_project

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]


def test_a_real_engine_is_tuned_and_mira_toml_says_what_won(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    shutil.copytree(Path(mira_stream.demo.__file__).parent / "project", tmp_path / "p")
    toml = tmp_path / "p" / FILE_NAME
    before = toml.read_text()
    asked = ["--group", "text", "--knob", "prefix_caching", "--documents", "4", "--repeat", "3", "--json"]
    assert main(["bench", "tune", "--project", str(tmp_path / "p"), *asked]) == 0
    found: dict[str, Any] = orjson.loads(capsysbinary.readouterr().out.splitlines()[-1])
    (first, *more) = found["duels"]
    assert (first["knob"], first["value"], found["start"]) == ("prefix_caching", "false", {"prefix_caching": True})
    assert first["verdict"] in ("won", "no gain", "slower", "given up")
    assert len(first["base"]) == len(first["tried"]) >= 2
    assert all(rate > 0 for rate in (*first["base"], *first["tried"]))
    assert bool(more) == (first["verdict"] == "won")
    assert found["written"] == bool(found["changes"]) == (toml.read_text() != before)
    caching = load_project(tmp_path / "p", environment={}).settings.groups["text"].prefix_caching
    assert caching == (not found["changes"])
