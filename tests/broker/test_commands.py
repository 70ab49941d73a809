"""`mira-stream broker`: what it prints and how it exits."""

from pathlib import Path

import orjson
import pytest

from mira_stream.broker_local import control
from mira_stream.cli.main import main

pytestmark = pytest.mark.broker


def test_start_status_stop(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broker"
    monkeypatch.setattr(control, "PROVE_S", 60.0)  # a broker that is short of its cores is not unhealthy

    def run(command: str, *more: str) -> tuple[int, bytes, str]:
        code = main(["broker", command, "--data-dir", str(folder), *more])
        said = capsysbinary.readouterr()
        return code, said.out, said.err.decode()

    assert run("status", "--json")[:2] == (
        1,
        orjson.dumps({"state": "stopped", "data_dir": str(folder), "broker": None, "problem": None}) + b"\n",
    )
    try:
        code, out, _ = run("start", "--json")
        assert code == 0
        started = orjson.loads(out)
        assert started["data_dir"] == str(folder)
        code, out, _ = run("status", "--json")
        assert code == 0
        assert orjson.loads(out) == {"state": "healthy", "data_dir": str(folder), "broker": started, "problem": None}
        code, out, err = run("start")
        assert (code, out) == (4, b"")
        assert "data_dir_in_use" in err
        assert started["bootstrap_servers"] in err
        assert "broker stop" in err
        code, out, err = run("status")
        assert (code, out) == (0, b"")
        assert err.startswith("healthy, Kafka 4.3.1 at")
    finally:
        code, out, _ = run("stop", "--json")
    assert (code, orjson.loads(out)) == (0, {"stopped": True, "data_dir": str(folder)})
    assert run("stop")[0] == 0
    assert run("status")[0] == 1


def test_the_projects_folder_is_used(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    (tmp_path / "mira.toml").write_text('groups = {}\nsources = {}\n[broker]\ndata_dir = "kept/here"\n')
    assert main(["broker", "status", "--project", str(tmp_path), "--json"]) == 1
    assert orjson.loads(capsysbinary.readouterr().out)["data_dir"] == str(tmp_path / "kept" / "here")
    assert main(["broker", "status", "--project", str(tmp_path / "nowhere")]) == 3
