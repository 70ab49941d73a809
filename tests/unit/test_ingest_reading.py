"""Files of every format: each row once, in order, as a document or a dead letter; damage is an error."""

import gzip
import json
import tracemalloc
from base64 import b64decode
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.errors import ConfigError, DataLossError
from mira_stream.ingest import CorpusFile, Reading, RowMapping, find_corpus, read_file
from mira_stream.ingest.lines import Giant, Line, read_lines
from mira_stream.messages import DeadLetter, Document, decoder
from mira_stream.parquet import READERS
from mira_stream.sections import SourceSection

_document, _letter = decoder(Document).decode, decoder(DeadLetter).decode
ROWS: list[dict[str, Any]] = [{"id": f"d{number}", "text": f"text {number}", "n": number} for number in range(1000)]


def lines(rows: list[dict[str, Any]] = ROWS) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def parquet(rows: list[dict[str, Any]] = ROWS) -> bytes:
    sink = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=300)
    return sink.getvalue()


WRITERS: dict[str, Callable[[], bytes]] = {
    "a.jsonl": lines,
    "a.jsonl.gz": lambda: gzip.compress(lines(ROWS[:600])) + gzip.compress(lines(ROWS[600:])),
    "a.jsonl.zst": lambda: bytes(pa.compress(lines(), codec="zstd", asbytes=True)),
    "a.parquet": parquet,
}


def read(path: Path, start: int = 0, limit: int = 900_000) -> Iterator[Reading]:
    mapping = RowMapping("web", SourceSection(group="g"), "text", limit)
    (file,) = find_corpus(path).files
    return read_file(file, "etag", mapping, start, READERS)


def read_bytes(folder: Path, name: str, content: bytes, **options: int) -> list[Reading]:
    (folder / name).write_bytes(content)
    return list(read(folder / name, **options))


def letters(readings: list[Reading]) -> list[DeadLetter]:
    return [_letter(reading.value) for reading in readings if reading.rejected]


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    readings = read_bytes(tmp_path, name, WRITERS[name]())
    documents = [_document(reading.value) for reading in readings]
    assert [(d.id, d.text, d.meta) for d in documents] == [(r["id"], r["text"], {"n": r["n"]}) for r in ROWS]
    assert [reading.id for reading in readings] == [row["id"] for row in ROWS]
    refs = [document.ref for document in documents]
    assert all(ref is not None and (ref.uri, ref.etag) == (name, "etag") for ref in refs)
    places = [ref.byte if name == "a.jsonl" else ref.row for ref in refs if ref is not None]
    assert places == [0, *(reading.next for reading in readings)][:-1]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("after", [0, 1, 299, 300, 555, 999])
def test_reading_goes_on_anywhere(tmp_path: Path, name: str, after: int) -> None:
    readings = read_bytes(tmp_path, name, WRITERS[name]())
    assert list(read(tmp_path / name, start=readings[after].next)) == readings[after + 1 :]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_bad_lines_between_good_ones(tmp_path: Path, name: str) -> None:
    bad = [b"{oops", b'{"text": "\xff"}', b'{"text": 5, "id": "five"}', b'{"x": 1}', b'{"text": ""}', b"[]"]
    content = b"\xef\xbb\xbf" + b"\r\n\n  \n".join([b'{"text":"first"}', *bad, b'{"text":"last"}'])
    if name.endswith(".gz"):
        content = gzip.compress(content)
    elif name.endswith(".zst"):
        content = bytes(pa.compress(content, codec="zstd", asbytes=True))
    readings = read_bytes(tmp_path, name, content)
    assert [reading.rejected for reading in readings] == [False, *[True] * 6, False]
    found = letters(readings)
    assert [letter.reason for letter in found] == [
        "invalid_json",
        "invalid_utf8",
        "invalid_document",
        "invalid_document",
        "empty_document",
        "invalid_document",
    ]
    for letter, line in zip(found, bad, strict=True):
        assert b64decode(letter.head) == line
        assert (letter.bytes, letter.sha256) == (len(line), sha256(line).hexdigest())
        assert (letter.stage, letter.source) == ("produce", "web")
        assert letter.ref is not None
        assert letter.error
    assert [letter.id for letter in found] == [None, None, "five", None, None, None]
    assert [reading.id for reading in readings][3] == "five"


def test_a_giant_line_is_a_dead_letter_and_no_memory(tmp_path: Path) -> None:
    giant = b'{"text": "' + b"x" * (80 * 2**20) + b'"}'
    content = b'{"text":"a"}\n' + giant + b"\n" + b'{"text":"b"}\n'
    (tmp_path / "a.jsonl").write_bytes(content)
    tracemalloc.start()
    readings = list(read(tmp_path / "a.jsonl"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20
    assert [reading.rejected for reading in readings] == [False, True, False]
    (letter,) = letters(readings)
    assert (letter.reason, letter.bytes, letter.sha256) == ("too_large", len(giant), sha256(giant).hexdigest())
    assert len(letter.head) == 64_000
    assert readings[-1].next == len(content)


@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.booleans())
def test_lines_of_any_length(parts: list[bytes], ended: bool) -> None:
    content = b"\n".join(parts) + (b"\n" if ended else b"")
    found = list(read_lines(BytesIO(content), 0, line_bytes_max=9))
    assert [line.start for line in found] == [0, *(line.end for line in found)][:-1]
    assert (found[-1].end if found else 0) == len(content)
    expected = content.splitlines(keepends=True) if b"\r" not in content else None
    for line in found:
        data = content[line.start : line.end].removesuffix(b"\n")
        assert _is(line, data)
        assert expected is None or len(data) <= 9 or isinstance(line.data, Giant)


def _is(line: Line, data: bytes) -> bool:
    if isinstance(line.data, Giant):
        return line.data == Giant(sha256(data).hexdigest(), len(data), line.data.head)
    return line.data.removesuffix(b"\n") == data


def test_a_document_of_20_megabytes(tmp_path: Path) -> None:
    for name, content in {
        "a.jsonl": json.dumps({"id": "big", "text": "x" * 15_000_000}).encode(),
        "a.parquet": parquet([{"id": "big", "text": "x" * 20_000_000}]),
        "a.txt": b"x" * 20_000_000,
    }.items():
        (letter,) = letters(read_bytes(tmp_path, name, content))
        assert letter.reason == "too_large"
        assert letter.id == (None if name == "a.txt" else "big")
        assert letter.bytes >= 15_000_000
        assert len(letter.head) == 64_000


def test_other_columns_count_against_the_record(tmp_path: Path) -> None:
    row = json.dumps({"text": "x", "other": "y" * 1_000_001}).encode()
    assert [letter.reason for letter in letters(read_bytes(tmp_path, "a.jsonl", row))] == ["too_large"]


def test_text_files(tmp_path: Path) -> None:
    for content, expected in {
        b"# Title\n": "# Title\n",
        b"\xef\xbb\xbfwith mark": "with mark",
        b"\x89PNG\xff": "invalid_utf8",
        b"": "empty_document",
        b" \n ": "empty_document",
        b"x" * 101: "too_large",
    }.items():
        (reading,) = read_bytes(tmp_path, "a.md", content, limit=100)
        found = _letter(reading.value).reason if reading.rejected else _document(reading.value).text
        assert (found, reading.next) == (expected, 1)
        assert list(read(tmp_path / "a.md", start=1)) == []


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_a_file_cut_off_keeps_what_came_before(tmp_path: Path, name: str) -> None:
    rows = [{"id": f"d{number}", "text": sha256(str(number).encode()).hexdigest() * 40} for number in range(3000)]
    whole = parquet(rows) if name == "a.parquet" else lines(rows)
    if name == "a.jsonl.gz":
        whole = gzip.compress(whole)
    elif name == "a.jsonl.zst":
        whole = bytes(pa.compress(whole, codec="zstd", asbytes=True))
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    found: list[Reading] = []
    with pytest.raises(DataLossError, match="source_damaged") as error:
        found.extend(read(tmp_path / name))
    assert str(tmp_path / name) in error.value.cause
    assert name == "a.parquet" or len(found) > 1000
    assert not any(reading.rejected for reading in found)


def test_a_damaged_row_group_keeps_those_before(tmp_path: Path) -> None:
    whole = bytearray(parquet([{"text": sha256(str(number).encode()).hexdigest()} for number in range(900)]))
    start = pq.ParquetFile(BytesIO(bytes(whole))).metadata.row_group(1).column(0).data_page_offset
    whole[start : start + 2000] = b"\xff" * 2000
    (tmp_path / "a.parquet").write_bytes(whole)
    found: list[Reading] = []
    with pytest.raises(DataLossError, match="source_damaged"):
        found.extend(read(tmp_path / "a.parquet"))
    assert [reading.next for reading in found] == list(range(1, len(found) + 1))
    assert 0 < len(found) <= 300


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_not_what_the_name_says(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataLossError, match="source_damaged"):
        read_bytes(tmp_path, name, b"hello world\n" * 10)


def test_a_file_that_went_away(tmp_path: Path) -> None:
    mapping = RowMapping("web", SourceSection(group="g"), "text", 100)
    for format_ in ("jsonl", "jsonl.gz", "parquet", "text"):
        file = CorpusFile(tmp_path / "gone", "gone", format_)
        with pytest.raises(ConfigError, match="source_unreadable"):
            list(read_file(file, "etag", mapping, 0, READERS))


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, "a.jsonl", b"") == []
    assert read_bytes(tmp_path, "a.jsonl.gz", gzip.compress(b"")) == []
    assert read_bytes(tmp_path, "b.jsonl", b"\n \n\xef\xbb\xbf"[:3]) == []
