"""Staged files: whole before they have a name, in place only when told, safe from an owner that lost its partition."""

from pathlib import Path, PurePosixPath

import pytest

from mira_stream.errors import DataLossError
from mira_stream.exporting import OutFolder, finish_exports
from mira_stream.exporting.ledger import last_export
from mira_stream.exporting.staging import StagedTable, delete, is_staged, left_over, part_path, put_into_place
from mira_stream.messages import Export, ExportedFile, encode
from mira_stream.parquet import open_table, read_columns
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.ports import TopicSpec
from mira_stream.testing.broker import MemoryBroker

PATH = part_path("scores", "docs", 3, 10, 29)


def staged(out: Path, *numbers: int, path: PurePosixPath = PATH) -> ExportedFile:
    table = StagedTable(out, path, {"n": "int64"}, open_table)
    for number in numbers:
        table.write({"n": [number]})
    table.complete()
    return table.stage()


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob("*") if path.is_file())


def test_where_parts_go() -> None:
    assert str(PATH) == "scores/docs/part-00003-000000000010-000000000029.parquet"


def test_nothing_is_visible_before_it_is_put_into_place(tmp_path: Path) -> None:
    file = staged(tmp_path, 1, 2)
    assert (file.path, file.rows) == (str(PATH), 2)
    assert [name[0] for name in names(tmp_path)] == ["."]
    assert is_staged(tmp_path, file)
    put_into_place(tmp_path, [file])
    assert read_columns(tmp_path / PATH) == {"n": [1, 2]}
    assert names(tmp_path) == [PATH.name]
    assert not is_staged(tmp_path, file)
    put_into_place(tmp_path, [file])
    assert names(tmp_path) == [PATH.name]


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    file = staged(tmp_path, 1)
    delete(tmp_path, left_over(tmp_path, 3))
    assert put_into_place(tmp_path, [file]) == [tmp_path / file.path]
    folder = OutFolder(tmp_path, "mira.exports")
    folder.check()
    with pytest.raises(DataLossError, match="export_lost"):
        folder.finish(Export(partition=3, first=10, last=29, files=[file]))


def test_an_owner_that_lost_its_partition_cannot_spoil_the_next_ones_file(tmp_path: Path) -> None:
    zombie = StagedTable(tmp_path, PATH, {"n": "int64"}, open_table)
    zombie.write({"n": [666]})
    owner = staged(tmp_path, 1, 2)
    zombie.complete()
    zombie.stage()
    put_into_place(tmp_path, [owner])
    assert read_columns(tmp_path / PATH) == {"n": [1, 2]}


def test_what_an_owner_saw_does_not_have_the_next_ones_name_whatever_is_in_it(tmp_path: Path) -> None:
    staged(tmp_path, 1, 2)
    seen = left_over(tmp_path, 3)
    same = staged(tmp_path, 1, 2)
    delete(tmp_path, seen)
    assert len(seen) == 1
    assert is_staged(tmp_path, same)
    staged(tmp_path, 1, 2)
    put_into_place(tmp_path, [same])
    assert names(tmp_path) == [PATH.name]


def test_only_the_partitions_own_staged_files_are_deleted(tmp_path: Path) -> None:
    mine, theirs = staged(tmp_path, 1), staged(tmp_path, 2, path=part_path("kept", "docs", 4, 0, 9))
    done = staged(tmp_path, 3, path=part_path("kept", "docs", 3, 0, 9))
    put_into_place(tmp_path, [done])
    delete(tmp_path, left_over(tmp_path, 3))
    assert (is_staged(tmp_path, mine), is_staged(tmp_path, theirs)) == (False, True)
    assert (tmp_path / done.path).exists()


def test_an_abandoned_table_leaves_nothing(tmp_path: Path) -> None:
    table = StagedTable(tmp_path, PATH, {"n": "int64"}, open_table)
    table.write({"n": [1]})
    table.abandon()
    assert names(tmp_path) == []


EXPORTS = TopicPartition("mira.exports", 0)


async def exported(count: int, files: list[ExportedFile]) -> MemoryBroker:
    """A log of `count` exports, each followed by a marker, the last with these files; then markers only."""
    broker = MemoryBroker()
    await broker.create_topics([TopicSpec(EXPORTS.topic, 1), TopicSpec("other", 1)], 1)
    producer = await broker.producer("p")
    for number in range(count):
        export = Export(partition=0, first=number, last=number, files=files if number == count - 1 else [])
        await producer.commit([Outgoing(EXPORTS.topic, b"0", encode(export), 0)], {}, None)
    return broker


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 400])
async def test_the_last_export_is_found(count: int) -> None:
    broker = await exported(count, [])
    for _ in range(80):
        broker.fail_next_commit("aborted")
        producer = await broker.producer("aborted")
        with pytest.raises(Exception, match="commit_refused"):
            await producer.commit([Outgoing(EXPORTS.topic, b"0", b"never", 0)], {}, None)
    last = await last_export(await broker.reader(), EXPORTS)
    assert (last.last if last is not None else None) == (count - 1 if count else None)


async def test_what_is_committed_and_staged_is_finished_and_nothing_else(tmp_path: Path) -> None:
    OutFolder(tmp_path, EXPORTS.topic).begin(())
    committed, stale = staged(tmp_path, 1), staged(tmp_path, 2, path=part_path("kept", "docs", 3, 10, 29))
    broker = await exported(3, [committed])
    for _ in range(2):
        await finish_exports(await broker.reader(), OutFolder(tmp_path, EXPORTS.topic))
        assert read_columns(tmp_path / committed.path) == {"n": [1]}
        assert is_staged(tmp_path, stale)
    (tmp_path / committed.path).unlink()
    await finish_exports(await broker.reader(), OutFolder(tmp_path, EXPORTS.topic))
