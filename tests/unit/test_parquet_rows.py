"""Parquet rows as an ingest gets them: odd types become what JSON can hold, bad cells cost their row alone."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mira_stream.ingest import BadRow, RowMapping, find_corpus, read_file
from mira_stream.messages import Document, Message, ToolCall, decoder
from mira_stream.parquet import READERS
from mira_stream.parquet.rows import read_rows
from mira_stream.sections import SourceSection

NS = 1_700_000_000_123_456_789


def test_values_of_many_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({
        "text": ["x"],
        "when": pa.array([NS], pa.timestamp("ns")),
        "day": [date(2024, 5, 1)],
        "price": [Decimal("1.10")],
        "raw": [b"\xff"],
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "none": pa.array([None], pa.null()),
        "nan": [float("nan")],
        "category": pa.array(["c"]).dictionary_encode(),
    })  # fmt: skip
    pq.write_table(table, path)
    section = SourceSection(group="g", event_time="when")
    (reading,) = read_file(find_corpus(path).files[0], "e", RowMapping("s", section, "text", 100), 0, READERS)
    document = decoder(Document).decode(reading.value)
    assert document.event_time_ms == NS // 10**6
    assert document.meta == {
        "day": "2024-05-01",
        "price": "1.10",
        "raw": "/w==",
        "map": [["k", 1]],
        "none": None,
        "nan": None,
        "category": "c",
    }


def test_native_messages_with_their_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "hi", "tool_calls": None}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"name": "run", "arguments": "{"}]}]},
        {"messages": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    mapping = RowMapping("s", SourceSection(group="g"), "agent", 1000)
    readings = list(read_file(find_corpus(path).files[0], "e", mapping, 0, READERS))
    assert [reading.rejected for reading in readings] == [False, False, True]
    documents = [decoder(Document).decode(reading.value) for reading in readings[:2]]
    assert documents[0].messages == [Message(role="user", content="hi")]
    assert documents[1].messages == [Message(role="assistant", tool_calls=[ToolCall(name="run", arguments="{")])]
    assert json.loads(readings[2].value)["reason"] == "invalid_document"


def test_a_cell_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    column = pa.array([b"good", b"\xff\xfe", b"fine"], pa.binary()).view(pa.string())
    far = pa.array([datetime(2024, 1, 1, tzinfo=UTC), None, None], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"text": column, "far": far}), path)
    rows = list(read_rows(path, 0))
    assert [row.reason if isinstance(row, BadRow) else row["text"] for row in rows] == ["good", "invalid_utf8", "fine"]


def test_a_time_python_cannot_hold_costs_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"t": pa.array([0, 2**62], pa.int64()).cast(pa.timestamp("us"))}), path)
    rows = list(read_rows(path, 0))
    assert rows[0] == {"t": datetime(1970, 1, 1)}
    assert isinstance(rows[1], BadRow)
    assert rows[1].reason == "invalid_document"


def test_any_first_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": list(range(1000))}), path, row_group_size=130)
    for first in (0, 1, 129, 130, 131, 300, 999, 1000, 5000):
        assert [row["n"] for row in read_rows(path, first) if not isinstance(row, BadRow)] == list(range(first, 1000))
