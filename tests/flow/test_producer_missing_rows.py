"""`produce files --missing` on rows that are no documents, on copies without ids and on files that changed."""

import asyncio
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.errors import DataLossError, UsageError
from mira_stream.messages import DeadLetter, decoder
from mira_stream.sections import SourceSection
from producers.files import produce
from tests.flow.test_producer_missing import World, small_batches

__all__ = ["small_batches"]

ROWS = [b'{"id": "a", "text": "text 1"}', b"{oops", b"{}", b'{"id": "b"}', b"{oops", b'{"id": "c", "text": "text 2"}']
REJECTED = Counter({b"{oops": 2, b"{}": 1, b'{"id": "b"}': 1})


def letters(world: World) -> "Counter[bytes]":
    """How many each rejected row has, by its size: no two rows here that differ are of one size."""
    sizes = {len(row): row for row in REJECTED}
    found = (decoder(DeadLetter).decode(record.value or b"") for record in world.broker.records("mira.dead-letters"))
    return Counter(sizes[letter.bytes] for letter in found)


async def with_rejected(folder: Path) -> World:
    world = await World(folder, 0).begin()
    (folder / "web.jsonl").write_bytes(b"\n".join(ROWS) + b"\n")
    return world


async def test_rejected_rows_of_a_copy_have_their_letters(tmp_path: Path) -> None:
    world = await with_rejected(tmp_path)
    await world.produce(missing=False)
    assert letters(world) == REJECTED
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / "web.jsonl").read_bytes() + b"{oops\n")
    for path, new in (("web.jsonl", 0), ("copy.jsonl", 1), ("copy.jsonl", 0), ("web.jsonl", 0)):
        count = await world.produce(path=path)
        assert (count.new, count.again, count.left) == (new, 0, 6 if path == "web.jsonl" else 7 - new)
    assert letters(world) == REJECTED + Counter({b"{oops": 1}), "one more than before stands in the copy"
    assert world.texts() == [1, 2]


async def test_of_a_file_that_was_never_read_each_rejected_row_gets_a_letter(tmp_path: Path) -> None:
    world = await with_rejected(tmp_path)
    count = await world.produce()
    assert (count.documents, count.rejected, count.left) == (2, 4, 0)
    assert letters(world) == REJECTED


@settings(max_examples=30, deadline=None)
@given(first=st.lists(st.sampled_from(ROWS)), copy=st.lists(st.sampled_from(ROWS)), read=st.integers(0, 8))
def test_a_rejected_row_has_as_many_letters_as_any_of_the_files_has_of_it(
    first: list[bytes], copy: list[bytes], read: int
) -> None:
    """However much of the copy was read by a run before that was cut off."""

    async def run(folder: Path) -> None:
        world = await World(folder, 0).begin()
        (folder / "web.jsonl").write_bytes(b"".join(row + b"\n" for row in first))
        await world.produce(missing=False)
        for rows in (copy[:read], copy):
            (folder / "copy.jsonl").write_bytes(b"".join(row + b"\n" for row in rows))
            await world.produce(path="copy.jsonl")
        wanted = {row: max(first.count(row), copy.count(row)) for row in REJECTED}
        assert letters(world) == Counter({row: count for row, count in wanted.items() if count})

    with TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


async def test_a_row_that_a_mended_mapping_takes_is_left_to_its_dead_letter(tmp_path: Path) -> None:
    """`dlq replay` produces it; both would produce it twice."""
    world = await World(tmp_path, 0).begin()
    (tmp_path / "web.jsonl").write_bytes(b'{"uid": "a", "body": "text 1"}\n{"body": "text 2"}\n')
    await world.produce(missing=False)
    assert world.texts() == []
    sources = {"web": SourceSection(group="text", path="web.jsonl", text="body", id="uid")}
    count = (await produce(world.broker, world.project, sources, missing=True))["web"]
    assert (count.again, count.left, world.texts()) == (0, 2, [])


async def test_a_copy_of_rows_without_ids_is_refused(tmp_path: Path) -> None:
    world = await World(tmp_path, with_ids=False).begin()
    await world.produce(missing=False)
    world.score(*range(20))
    await world.make_anew()
    await world.done(0)
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / "web.jsonl").read_bytes())
    for _ in range(2):
        with pytest.raises(UsageError, match=r"copy_without_ids.*copy\.jsonl.*under the name that it was read under"):
            await world.produce(path="copy.jsonl")
    assert world.texts() == []
    assert (await world.produce()).left == 20


async def test_a_folder_that_was_read_before_may_hold_new_rows_without_ids(tmp_path: Path) -> None:
    world = await World(tmp_path, with_ids=False).begin()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "text 1"}\n')
    await world.produce()
    await world.produce(missing=False, path="in")
    (tmp_path / "in" / "b.jsonl").write_text('{"text": "text 30"}\n')
    count = await world.produce(path="in")
    assert (count.new, count.left, world.texts()[-1]) == (1, 1, 30)


async def test_of_a_file_that_changed_it_says_what_may_be_done_with_missing(tmp_path: Path) -> None:
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    (tmp_path / "web.jsonl").write_text('{"id": "w0", "text": "text 0"}\n')
    with pytest.raises(DataLossError, match="source_changed") as error:
        await world.produce()
    assert "--corpus SOURCE=FILE --missing" in error.value.fix
    assert "--again" not in error.value.fix
    (tmp_path / "web.jsonl").rename(tmp_path / "other.jsonl")
    assert (await world.produce(path="other.jsonl")).left == 1
