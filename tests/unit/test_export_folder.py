"""Whether the export folder can be written to is tried, in time, and leaves nothing behind."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest
import structlog

from mira_stream.exporting import OutFolder
from mira_stream.exporting import folder as out_folder
from mira_stream.streaming.export_folder import ANSWERED_MAX_S, ExportFolder


class Clock:
    s = 0.0

    def __call__(self) -> float:
        return self.s


async def test_a_folder_that_can_be_written_to_is_ready_and_holds_its_marks_alone(tmp_path: Path) -> None:
    out = OutFolder(tmp_path / "on" / "demand", "mira.exports")
    folder = ExportFolder(out)
    assert not folder.check().ok
    await folder.look()
    assert folder.check().ok
    files = [path.relative_to(out.out).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == ["kept/.mira.exports", "scores/.mira.exports"]


async def test_a_folder_that_cannot_be_made_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = ExportFolder(OutFolder(tmp_path / "file" / "out", "mira.exports"))
    with structlog.testing.capture_logs() as said:
        await folder.look()
        await folder.look()
    check = folder.check()
    assert not check.ok
    assert str(tmp_path / "file" / "out") in check.cause
    assert "--out" in check.fix
    assert [entry["code"] for entry in said] == ["export_unwritable"]


async def test_a_full_disk_is_said_until_there_is_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = ExportFolder(OutFolder(tmp_path, "mira.exports"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        await folder.look()
    assert "no space left" in folder.check().cause
    with structlog.testing.capture_logs() as said:
        await folder.look()
    assert folder.check().ok
    assert "again" in said[0]["event"]


async def test_a_mount_that_hangs_is_not_ready_and_holds_back_no_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answer, clock = threading.Event(), threading.Event(), Clock()

    def hanging(out: Path) -> None:
        begun.set()
        answer.wait(30)

    out = OutFolder(tmp_path, "mira.exports")
    out.known.set()
    folder = ExportFolder(out, clock)
    await folder.look()
    monkeypatch.setattr(out_folder, "try_writing", hanging)
    trying = asyncio.create_task(folder.go_on())
    await asyncio.to_thread(begun.wait, 30)
    clock.s = ANSWERED_MAX_S
    assert folder.check().ok
    clock.s += 1
    assert "has not answered for 31 s" in folder.check().cause
    why = folder.why()
    assert why is not None
    assert why.code == "export_silent"
    answer.set()
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
