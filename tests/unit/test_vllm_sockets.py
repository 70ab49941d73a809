"""The folder of an engine's sockets goes with its process, and no other's is touched."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mira_stream.errors import DependencyError
from mira_stream.vllm_engine.guardian import MARK
from mira_stream.vllm_engine.sockets import BASE, LONGEST, PREFIX, own_folder, remove_left

HOLDS = """
import os, sys, time
from pathlib import Path
from mira_stream.vllm_engine.guardian import _guardians, guard
guard()
folder = Path(os.environ["VLLM_RPC_BASE_PATH"])
(folder / "socket").touch()
print(folder, _guardians[os.getpid()].pid, flush=True)
time.sleep(600)
"""


def wait_until(condition: Callable[[], bool]) -> None:
    """For what stays once it is there; pytest ends a wait for what never comes."""
    while not condition():
        time.sleep(0.02)


def environment(base: Path) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name not in (MARK, BASE)}, "TMPDIR": str(base)}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Short enough for sockets, as a temporary folder is."""
    place = Path("/tmp") / f"mira-test-{os.getpid()}-{tmp_path.name[-20:]}"
    place.mkdir()
    monkeypatch.setenv(BASE, str(place))
    return place


@pytest.fixture(autouse=True)
def _removed(base: Path) -> object:
    yield
    for one in sorted(base.rglob("*"), reverse=True):
        one.rmdir() if one.is_dir() else one.unlink()
    base.rmdir()


def test_it_goes_with_its_killed_process_and_stays_while_that_lives(base: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True, env=environment(base)
    ) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().split()[0])
        remove_left(base)
        assert (folder.parent, (folder / "socket").exists()) == (base, True)
        holder.kill()
    wait_until(lambda: not folder.exists())


def test_where_its_guardian_was_killed_too_the_next_start_removes_it(base: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True, env=environment(base)
    ) as holder:
        assert holder.stdout is not None
        folder, guardian = holder.stdout.readline().split()
        os.kill(int(guardian), 9)
        holder.kill()
    others = base / "another-0123"
    others.mkdir()
    mine = own_folder()
    assert sorted(base.iterdir()) == sorted([others, mine])
    assert os.environ[BASE] == str(mine) != folder


def test_a_process_started_by_one_with_engines_has_a_folder_beside_that(base: Path) -> None:
    first, second = own_folder(), own_folder()
    assert first != second
    assert first.parent == second.parent == base


def test_a_temporary_folder_too_long_for_sockets_is_not_used(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE, str(base / ("long" * 20)))
    folder = own_folder()
    assert len(os.fsencode(folder)) <= LONGEST
    assert folder.name.startswith(PREFIX)
    folder.rmdir()


def test_a_place_that_cannot_be_written_is_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE, str(base / "none"))
    with pytest.raises(DependencyError, match=f"in {base / 'none'}") as refused:
        own_folder()
    assert "TMPDIR" in refused.value.fix
