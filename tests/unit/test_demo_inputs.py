"""A demo run looks at its inputs before it deletes what an older run left."""

from pathlib import Path

import pytest
from rich.console import Console

from mira_stream.broker_local.data_dir import DataDir, Runtime
from mira_stream.config import load_project
from mira_stream.demo.run import SHIPPED, Options, OwnCorpus, run_demo
from mira_stream.errors import ConfigError, UsageError
from mira_stream.supervision.supervisor import Supervisor


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of an older run."""
    folder = tmp_path / "out"
    (folder / "kept").mkdir(parents=True)
    (folder / ".mira-demo").touch()
    (folder / "kept" / "precious.parquet").write_text("x")
    return folder


async def refused(options: Options) -> None:
    """The run raises; what was there is there."""
    try:
        await run_demo(options, Console(stderr=True), Supervisor(options.out / "logs"))
    finally:
        assert (options.out / "kept" / "precious.parquet").exists()


async def test_a_missing_project_deletes_nothing(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="project_missing"):
        await refused(Options(10, out, tmp_path / "nowhere", [], False, None))


async def test_a_project_inside_the_folder_is_refused(out: Path) -> None:
    with pytest.raises(UsageError, match="input_in_out"):
        await refused(Options(10, out, out / "project", [], False, None))


async def test_a_corpus_inside_the_folder_is_refused(out: Path) -> None:
    own = [OwnCorpus("mine", out / "kept", "text")]
    with pytest.raises(UsageError, match="input_in_out"):
        await refused(Options(10, out, SHIPPED, own, False, None))


async def test_an_unknown_group_deletes_nothing(out: Path, tmp_path: Path) -> None:
    own = [OwnCorpus("mine", tmp_path / "mine.jsonl", "nosuch")]
    with pytest.raises(UsageError, match="group_unknown"):
        await refused(Options(10, out, SHIPPED, own, False, None))


def test_a_file_is_no_project(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ConfigError, match="project_unreadable"):
        load_project(file)


def test_a_broker_that_ends_late_leaves_the_next_ones_address(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    runtime = Runtime(
        pid=7, pid_started=1, bootstrap_servers="127.0.0.1:1", port=1, since_ms=0, data_dir="d", log="l",
        kafka="k", java="j", kept="attached",
    )  # fmt: skip
    data.write_runtime(runtime)
    data.forget_runtime(6)
    assert data.read_runtime() == runtime
    data.forget_runtime(7)
    assert data.read_runtime() is None
