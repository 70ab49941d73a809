"""When a file of a watched folder is due: by stamps and a clock that the tests own."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.errors import ConfigError
from mira_stream.ingest.due import RETRY_S, Due
from mira_stream.ingest.files import CorpusFile, find_corpus
from mira_stream.ingest.listing import PIECE_BYTES, Seen, Stamp, list_folder, whole_lines


def seen(name: str, size: int, mtime: int = 0, inode: int = 1) -> Seen:
    format_ = find_format(name)
    return Seen(CorpusFile(Path(name), name, format_), Stamp(size, mtime, inode))  # type: ignore[arg-type]


def find_format(name: str) -> str:
    return name.partition(".")[2]


def test_a_growing_file_is_due_whenever_it_changed_and_a_whole_one_when_it_stands_still() -> None:
    due = Due(settle_s=2.0)
    lines, table = seen("a.jsonl", 1), seen("b.parquet", 1)
    assert due.look([lines, table], 0.0) == [lines]
    due.taken(lines)
    assert due.look([lines, table], 1.9) == []
    more, bigger = seen("a.jsonl", 2), seen("b.parquet", 2)
    assert due.look([more, bigger], 1.95) == [more]  # it grew in time: its moment begins anew
    due.taken(more)
    assert due.look([more, bigger], 3.9) == []
    assert due.look([more, bigger], 4.0) == [bigger]
    assert due.look([more, bigger], 5.0) == [bigger]  # until it is taken
    due.taken(bigger)
    assert due.look([more, bigger], 1e9) == []


@pytest.mark.parametrize("changed", [seen("a.jsonl", 5), seen("a.jsonl", 4, mtime=1), seen("a.jsonl", 4, inode=2)])
def test_any_part_of_the_stamp_tells_a_change(changed: Seen) -> None:
    due = Due(settle_s=2.0)
    before = seen("a.jsonl", 4)
    due.look([before], 0.0)
    due.taken(before)
    assert due.look([changed], 0.0) == [changed]


def test_a_refused_file_is_tried_again_later_or_when_it_changed() -> None:
    due = Due(settle_s=2.0)
    file = seen("a.jsonl.gz", 4)
    due.look([file], 0.0)
    assert due.look([file], 2.0) == [file]
    due.refused(file, 2.0)
    assert due.look([file], 1.0 + RETRY_S) == []
    assert due.look([file], 2.0 + RETRY_S) == [file]
    due.refused(file, 40.0)
    whole = seen("a.jsonl.gz", 9)
    assert due.look([whole], 41.0) == []
    assert due.look([whole], 43.0) == [whole]


def test_a_deleted_file_is_forgotten_and_new_when_it_comes_back() -> None:
    due = Due(settle_s=2.0)
    file = seen("a.jsonl", 4)
    due.look([file], 0.0)
    due.taken(file)
    assert due.look([], 1.0) == []
    assert due.look([file], 2.0) == [file]


def test_names_of_files_that_somebody_still_writes_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = ["a.jsonl", "b.jsonl.gz", "deep/c.parquet", "deep/d.NDJSON"]
    unfinished = [".h.jsonl", "e.jsonl.tmp", "f.parquet.part", "g.jsonl~", ".git/i.jsonl", "x.tmp/j.jsonl"]
    for name in [*names, *unfinished, "_temporary/k.parquet", "notes.txt", "n.jsonl.PART"]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    listed = list_folder(folder)
    assert [entry.file.uri for entry in listed] == [f"in/{name}" for name in names]
    (folder / ".h.jsonl").unlink()
    files = {file.uri: file.format for file in find_corpus(folder).files}
    assert {entry.file.uri: entry.file.format for entry in listed}.items() <= files.items()  # the same feeds
    with pytest.raises(ConfigError, match="source_missing"):
        list_folder(tmp_path / "gone")


@given(st.lists(st.binary(max_size=5).map(lambda data: data.replace(b"\n", b"")), max_size=6), st.integers(0, 40))
def test_whole_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int) -> None:
    data = b"\n".join(lines)
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(data)
    size = min(size, len(data))
    ends = [place + 1 for place in range(size) if data[place : place + 1] == b"\n"]
    for floor in range(size + 1):
        assert whole_lines(path, size, floor) == max([floor, *(end for end in ends if end > floor)])


def test_a_lines_end_is_found_before_a_long_tail(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one\n" + b"x" * (2 * PIECE_BYTES + 7))
    size = path.stat().st_size
    assert whole_lines(path, size, 0) == 4
    assert whole_lines(path, size, 5) == 5
