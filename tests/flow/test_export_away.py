"""The folder of the export when it is full, gone, somebody else's or archived: it is waited for, and nothing that is
lost is passed over unless a person says so, once."""

import asyncio
import errno
import os
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from mira_stream.errors import DataLossError, DependencyError, UsageError
from mira_stream.exporting import OutFolder, finish_exports, given_up
from mira_stream.hashed_file import HashedFile
from mira_stream.messages import Export, encode
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming import export_folder, standing_offsets
from mira_stream.streaming.metrics import Metrics
from tests.flow.exporting_world import PARTITIONS, World, hidden, killed, visible, without_pauses


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pauses(monkeypatch)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk with room for the given number of bytes; empty list: all the room there is."""
    room: list[int] = []
    write = HashedFile.write

    def limited(self: Any, data: bytes) -> int:
        if room:
            room[0] -= len(data)
            if room[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    monkeypatch.setattr(HashedFile, "write", limited)
    return room


def ready(world: World) -> dict[str, bool]:
    return {check.name: check.ok for check in world.metrics.health.ready().checks}


async def test_readiness_says_whether_the_folder_can_be_written_to(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 6)
    task = world.export()
    await world.until_committed(task)
    async with asyncio.timeout(30):
        while not ready(world).get("export_folder"):  # noqa: ASYNC110 - its first try ends in a thread
            await asyncio.sleep(0.002)
    world.stop.set()
    await task
    assert "export_folder" not in ready(world)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - files are worked on in threads, which tell no event
            await asyncio.sleep(0.002)


async def until_it_waits(world: World, task: "asyncio.Task[None]", code: str) -> None:
    """It says so to Prometheus and to whoever asks whether it is ready; nothing else ends it."""
    shown = world.metrics.registry.get_sample_value
    await until(lambda: task.done() or shown("mira_export_unavailable", {"cause": code}) == 1.0)
    if task.done():
        task.result()
    assert not ready(world)["export_folder"]


async def killed_behind_a_commit(world: World) -> None:
    """What it staged is committed, and not in place."""
    hold = world.broker.hold_next_commit("mira.exporter", ended=True)
    task = world.export()
    async with asyncio.timeout(30):
        await hold.reached.wait()
    await killed(task)


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_folder, "EVERY_S", 0.005)


@pytest.mark.parametrize("room", [0, 3, 3_000, 30_000])
async def test_a_full_disk_is_waited_for(tmp_path: Path, full_disk: list[int], room: int) -> None:
    world = await World.make(tmp_path, 60)
    full_disk.append(room)
    with structlog.testing.capture_logs() as said:
        task = world.export()
        await until(lambda: any(entry["event"] == "waits" for entry in said))
    assert "disk_full" in next(entry["error"] for entry in said if entry["event"] == "waits")
    assert not task.done()
    full_disk.clear()
    await world.until_committed(task)
    world.stop.set()
    await task
    world.check()


async def test_a_disk_is_full_as_long_as_the_export_does_not_fit_though_a_page_would(
    tmp_path: Path, full_disk: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[export_folder.ExportFolder] = []
    monkeypatch.setattr(export_folder.ExportFolder, "go_on", _kept_in(tried))
    world = await World.make(tmp_path, 60)
    full_disk.append(3_000)
    task = world.export()
    await until_it_waits(world, task, "disk_full")
    with structlog.testing.capture_logs() as said:
        for _ in range(2):
            await tried[0].look()
    assert [entry["code"] for entry in said if entry["event"] == "export folder"] == ["disk_full"]
    assert not ready(world)["export_folder"]
    full_disk.clear()
    await world.until_committed(task)
    with structlog.testing.capture_logs() as said:
        async with asyncio.timeout(30):
            while not any("again" in entry["event"] for entry in said):
                await tried[0].look()
    assert ready(world)["export_folder"]
    world.stop.set()
    await task
    world.check()


def _kept_in(tried: list[export_folder.ExportFolder]) -> Callable[[export_folder.ExportFolder], Awaitable[None]]:
    async def go_on(folder: export_folder.ExportFolder) -> None:
        tried.append(folder)
        await folder.look()

    return go_on


async def test_an_exporter_of_another_folder_takes_nothing_from_the_one_that_runs(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    first, out, stop = world.export(), world.out, world.stop
    await world.until_committed(first)
    world.out, world.metrics = tmp_path / "other", Metrics()
    with structlog.testing.capture_logs() as said:
        second = world.export()
        await until(lambda: any("export_gone" in str(entry.get("error")) for entry in said))
    assert next(entry["error"] for entry in said if "error" in entry).count("the same --out") == 1
    assert world.metrics.health.started().ok, "to start it again would mend nothing"
    world.add(30)
    await world.until_committed(first)
    assert [entry for entry in said if entry["event"] == "assigned"] == []
    world.stop.set()
    await second
    assert visible(world.out) == {}
    world.out = out
    stop.set()
    await first
    world.check()


@pytest.mark.usefixtures("looks_often")
async def test_a_folder_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 6)
    world.out.write_text("a file, not a folder")
    task = world.export()
    await until_it_waits(world, task, "export_unwritable")
    world.out.unlink()
    await world.until_committed(task)
    world.stop.set()
    await task
    world.check()


@pytest.mark.usefixtures("looks_often")
@pytest.mark.parametrize("left", ["nothing", "an empty mount point", "somebody else's folder"])
async def test_a_folder_that_is_moved_away_is_waited_for_and_not_begun_anew(tmp_path: Path, left: str) -> None:
    world = await World.make(tmp_path, 60)
    task = world.export()
    await world.until_committed(task)
    await until(lambda: all(world.settled(number) for number in range(PARTITIONS)))
    before, away = visible(world.out), tmp_path / "away"
    world.out.rename(away)
    if left != "nothing":
        world.out.mkdir()
    if left == "somebody else's folder":
        (world.out / "scores" / "other").mkdir(parents=True)
    await until_it_waits(world, task, "export_gone")  # while nothing is to be exported, too
    world.add(30)
    read = world.metrics.registry.get_sample_value
    await until(lambda: (read("mira_records_in_total", {"stage": "export", "topic": "mira.decisions"}) or 0) > 60)
    assert visible(away) == before
    assert [path for path in tmp_path.glob("out/**/*") if path.is_file()] == []
    shutil.rmtree(world.out, ignore_errors=True)
    away.rename(world.out)
    await world.until_committed(task)
    world.stop.set()
    await task
    world.check()


@pytest.mark.usefixtures("looks_often")
async def test_a_folder_that_is_moved_between_commit_and_renames_is_finished_when_it_is_back(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    hold = world.broker.hold_next_commit("mira.exporter", ended=True)
    task = world.export()
    async with asyncio.timeout(30):
        await hold.reached.wait()
    world.out.rename(tmp_path / "away")
    hold.release()
    await until_it_waits(world, task, "export_gone")
    (tmp_path / "away").rename(world.out)
    await world.until_committed(task)
    world.stop.set()
    await task
    world.check()


@pytest.mark.usefixtures("looks_often")
async def test_another_folder_is_refused_at_start_unless_the_loss_is_accepted(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    world.out = tmp_path / "elsewhere"
    world.add(6)
    task = world.export()
    with structlog.testing.capture_logs() as said:
        await until(lambda: any("export_gone" in str(entry.get("error")) for entry in said))
    assert not world.out.exists()
    await killed(task)
    with structlog.testing.capture_logs() as said:
        await world.run(accept_loss=True)
    assert [entry["accept_loss"] for entry in said if "gone" in entry["event"]] == [True]
    world.add(6)
    with structlog.testing.capture_logs() as said:
        await world.run()
    assert [entry for entry in said if entry["log_level"] == "warning"] == []
    assert Counter(row["id"] for row in world.rows("scores")).total() == 12


@pytest.mark.usefixtures("looks_often")
async def test_a_loss_is_accepted_once_for_partitions_that_export_nothing_meanwhile_too(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    shutil.rmtree(world.out)
    waiting = world.export()  # another exporter of the group, which is not told and goes on all the same
    await until_it_waits(world, waiting, "export_gone")
    stop_waiting = world.stop
    world.metrics = Metrics()
    accepting = world.export(accept_loss=True)
    await until(lambda: (world.out / "kept" / ".mira.exports").exists())
    await killed(accepting)
    world.add(1)  # to one of the two partitions
    world.metrics = Metrics()
    await world.until_committed(waiting)
    stop_waiting.set()
    await waiting
    await world.run()  # the other one has exported nothing since
    world.add(5)
    await world.run()
    assert Counter(row["id"] for row in world.rows("scores")).total() == 6


@pytest.mark.parametrize("archived", ["scores/*/part-*", "kept/docs", "*/*"])
async def test_parts_may_be_archived_at_any_time(tmp_path: Path, archived: str) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    parts, archive = visible(world.out), tmp_path / "archive"
    for path in sorted(world.out.glob(archived)):
        if not path.name.startswith("."):  # as the shell's `*`
            (archive / path.relative_to(world.out)).parent.mkdir(parents=True, exist_ok=True)
            path.rename(archive / path.relative_to(world.out))
    world.add(30)
    with structlog.testing.capture_logs() as said:
        await world.run()
    assert [entry for entry in said if entry["log_level"] == "warning"] == []
    assert 0 < len(visible(archive)) <= len(parts)
    shutil.copytree(archive, world.out, dirs_exist_ok=True)
    world.check()


async def test_parts_that_a_stop_put_into_place_may_be_archived(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 6)
    await killed_behind_a_commit(world)
    folder = OutFolder(world.out, "mira.exports")
    await finish_exports(await world.broker.reader(), folder)
    assert visible(world.out)
    for path in world.out.glob("*/*/part-*"):
        path.unlink()
    world.add(6)
    await world.run()


async def test_a_staged_file_that_is_gone_is_lost_until_that_is_accepted(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 6)
    await killed_behind_a_commit(world)
    for name in hidden(world.out):
        (world.out / name).unlink()
    with pytest.raises(DataLossError, match=r"export_lost.*--accept-loss.*--from-start"):
        async with asyncio.timeout(30):
            await world.export()
    for accept_loss in (True, False):
        world.add(6)  # in all partitions: they are committed only when all were opened
        await world.run(accept_loss=accept_loss)


async def test_a_folder_that_lost_its_marks_loses_nothing_else_when_that_is_accepted(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    world.add(60)
    await killed_behind_a_commit(world)
    for mark in world.out.glob("*/.mira.exports*"):
        mark.unlink()
    await world.run(accept_loss=True)
    world.check()


@pytest.mark.usefixtures("looks_often")
@pytest.mark.parametrize("lost", ["kept", "scores"])
async def test_one_table_that_is_gone_is_waited_for(tmp_path: Path, lost: str) -> None:
    """Each may be a mount of its own."""
    world = await World.make(tmp_path, 60)
    await world.run()
    (world.out / lost).rename(tmp_path / "away")
    (world.out / lost).mkdir()
    world.add(30)
    task = world.export()
    await until_it_waits(world, task, "export_gone")
    assert list((world.out / lost).iterdir()) == []
    (world.out / lost).rmdir()
    (tmp_path / "away").rename(world.out / lost)
    await world.until_committed(task)
    world.stop.set()
    await task
    world.check()


def scored(world: World) -> Counter[str]:
    return Counter(row["id"] for row in world.rows("scores"))


@pytest.mark.usefixtures("looks_often")
async def test_what_kafka_still_holds_is_exported_anew_into_an_empty_folder(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    before = scored(world)
    shutil.rmtree(world.out)
    world.broker.delete_before(TopicPartition("mira.decisions", 0), 4)
    waiting = world.export()  # one that runs, and is not told
    await until_it_waits(world, waiting, "export_gone")
    stop_waiting = world.stop
    world.metrics = Metrics()
    task = world.export(from_start=True)
    await until(lambda: len(world.rows("scores")) >= 56 if not task.done() else task.result())
    world.add(12)
    await world.until_committed(task)
    world.stop.set()
    stop_waiting.set()
    await asyncio.gather(task, waiting)
    assert scored(world).total() == 68
    assert set(scored(world).values()) == {1}
    assert len(scored(world) & before) == 56
    assert given_up(world.out, "mira.exports") == {}
    with structlog.testing.capture_logs() as said:
        world.add(6)
        await world.run()
    assert [entry for entry in said if entry["log_level"] == "warning"] == []
    assert scored(world).total() == 74


@pytest.mark.parametrize("left", ["all of it", "no marks"])
async def test_nothing_is_exported_anew_beside_what_is_there(tmp_path: Path, left: str) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    if left == "no marks":
        for mark in world.out.glob("*/.mira.exports*"):
            mark.unlink()
    decisions = [TopicPartition("mira.decisions", number) for number in range(2)]
    stood = await world.broker.committed("mira.exporter", decisions)
    with pytest.raises(UsageError, match="export_there"):
        await world.export(from_start=True)
    assert await world.broker.committed("mira.exporter", decisions) == stood


@pytest.mark.usefixtures("looks_often")
async def test_an_export_anew_that_was_cut_off_is_waited_for_until_it_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    shutil.rmtree(world.out)

    def cut_off(self: OutFolder, anew: object) -> None:
        raise KeyError("cut off")

    with monkeypatch.context() as cut:
        cut.setattr(OutFolder, "begin", cut_off)
        with pytest.raises(KeyError):
            await world.export(from_start=True)
    task = world.export()
    await until_it_waits(world, task, "export_gone")
    await killed(task)
    await world.run(from_start=True)
    assert scored(world).total() == len(scored(world)) == 60


async def test_what_was_given_up_is_written_down(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    shutil.rmtree(world.out)
    world.add(6)
    await world.run(accept_loss=True)
    assert given_up(world.out, "mira.exports") == {0: [(0, 29)], 1: [(0, 29)]}
    world.add(6)
    await killed_behind_a_commit(world)
    for name in hidden(world.out):
        (world.out / name).unlink()
    world.add(6)
    await world.run(accept_loss=True)
    later = [ranges[1:] for ranges in given_up(world.out, "mira.exports").values()]
    assert [(33, 35)] in later
    assert all(ranges in ([], [(33, 35)]) for ranges in later)


@pytest.mark.usefixtures("looks_often")
async def test_an_exporter_of_the_folder_before_does_not_export_again_what_another_one_begins_anew(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    before, there = visible(world.out), world.out
    world.out = tmp_path / "elsewhere"
    hold = world.broker.hold_next_commit("mira.exporter", ended=True)
    anew = world.export(from_start=True)
    async with asyncio.timeout(30):
        await hold.reached.wait()
    await killed(anew)  # one partition is set back
    world.out, world.metrics = there, Metrics()
    with structlog.testing.capture_logs() as said:
        task = world.export()
        await until(lambda: any("anew into another folder" in str(entry.get("error")) for entry in said))
    await killed(task)
    assert visible(there) == before
    world.out, world.metrics = tmp_path / "elsewhere", Metrics()
    await world.run(from_start=True)
    assert scored(world).total() == len(scored(world)) == 60


@pytest.mark.parametrize("times", [2, 99])
async def test_an_offset_is_set_although_its_owner_takes_the_partition_back_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    decisions, topic_id, taken = TopicPartition("mira.decisions", 0), world.broker.topic_id, 0

    async def taken_back(topic: str) -> str:
        nonlocal taken
        if taken < times:
            taken += 1
            await (await world.broker.producer("mira.exporter.mira.decisions.0")).close()
        return await topic_id(topic)

    def said_of(first: int) -> Outgoing:
        return Outgoing("mira.exports", b"0", encode(Export(partition=0, first=0, last=-1, files=[], anew=True)), 0)

    monkeypatch.setattr(standing_offsets, "PAUSE_S", 0.0)
    monkeypatch.setattr(world.broker, "topic_id", taken_back)
    reader = await world.broker.reader()
    stood = (await world.broker.committed("mira.exporter", [decisions]))[decisions]
    work = standing_offsets.rewind(world.broker, reader, "mira.progress", "mira.exporter", decisions, said_of)
    if times < standing_offsets.ATTEMPTS:
        assert await work == 0 < stood
        assert (await world.broker.committed("mira.exporter", [decisions]))[decisions] == 0
        return
    with pytest.raises(DependencyError, match="offset_contested"):
        await work
    assert (await world.broker.committed("mira.exporter", [decisions]))[decisions] == stood
