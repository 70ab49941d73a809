"""A source's family and columns are told from its rows; what they leave open is asked for, never guessed."""

import gzip
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mira_stream.errors import ConfigError, UsageError
from mira_stream.ingest.files import find_corpus
from mira_stream.ingest.inferring import Row, first_rows, infer
from mira_stream.parquet import READERS
from mira_stream.sections import Family

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


def told(row: Row, family: Family | None = None, **given: str) -> tuple[str, dict[str, str]]:
    found = infer("s", [row] * 3, family, given)
    assert (found.rows, found.readable, found.example) == (3, 3, "")
    return found.family, found.columns


@pytest.mark.parametrize(
    ("row", "family", "columns"),
    [
        ({"text": "a"}, "text", {}),
        ({"content": "a", "id": 7}, "text", {"text": "content"}),
        ({"text": "a", "content": "b"}, "text", {}),
        ({"messages": CHAT}, "agent", {}),
        ({"conversations": CHAT, "uuid": "u"}, "agent", {"messages": "conversations", "id": "uuid"}),
        ({"trajectory": orjson.dumps(CHAT).decode()}, "agent", {"messages": "trajectory"}),
        ({"question": "a", "answer": "b"}, "qa", {}),
        ({"question": "a", "think": "c", "answer": "b"}, "qa", {}),
        ({"question": "a", "reasoning": "c", "answer": "b"}, "qa", {"think": "reasoning"}),
        ({"prompt": "a", "response": "b"}, "qa", {"question": "prompt", "answer": "response"}),
        ({"instruction": "a", "output": "b"}, "qa", {"question": "instruction", "answer": "output"}),
        ({"parts": {"question": "a", "answer": "b"}}, "qa", {}),
        ({"text": "a", "num_tokens": 4}, "text", {"tokens": "num_tokens"}),
        ({"text": "a", "created_at": "2026-01-02T03:04:05Z"}, "text", {"event_time": "created_at"}),
        ({"text": "a", "date": "yesterday", "tokens": -1}, "text", {}),
    ],
)
def test_rows_tell_family_and_columns(row: Row, family: str, columns: dict[str, str]) -> None:
    assert told(row) == (family, columns)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "a", "messages": CHAT}, r"columns_ambiguous.*text.*agent"),
        ({"text": "a", "prompt": "p", "response": "r"}, "columns_ambiguous"),
        ({"content": "a", "body": "b"}, r"columns_unknown.*content, body"),
        ({"messages": [{"from": "user", "value": "a"}]}, "columns_unknown"),
        ({"url": "x"}, "columns_unknown"),
        ({}, r"columns_unknown.*none"),
    ],
)
def test_doubt_is_refused_with_what_to_say(row: Row, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        infer("s", [row], None, {})
    assert "--family" in caught.value.fix


def test_what_is_said_counts() -> None:
    row = {"text": "a", "messages": CHAT, "story": "b", "q": "c", "a": "d"}
    assert told(row, "agent") == ("agent", {})
    assert told(row, "text", text="story") == ("text", {"text": "story"})
    assert told(row, "qa", question="q", answer="a") == ("qa", {"question": "q", "answer": "a"})


def test_what_is_said_and_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="rows_unreadable"):
        infer("s", [{"text": "a"}], "text", {"text": "story"})
    with pytest.raises(UsageError, match="columns_unknown"):
        infer("s", [{"text": "a"}], "agent", {})


def test_rows_that_are_none_are_counted() -> None:
    found = infer("s", [{"text": "a"}, {"text": "b"}, {"text": "  "}], None, {})
    assert (found.rows, found.readable) == (3, 2)
    assert found.example.startswith("empty_document")


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet", "txt"])
def test_first_rows_of_every_format(tmp_path: Path, kind: str) -> None:
    rows: list[dict[str, Any]] = [{"text": f"line {number}"} for number in range(40)]
    path = tmp_path / f"x.{kind}"
    lines = b"\n{broken\n".join(orjson.dumps(row) for row in rows)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(lines))
    elif kind == "jsonl.zst":
        path.write_bytes(pa.Codec("zstd").compress(lines, asbytes=True))
    else:
        path.write_bytes(lines if kind == "jsonl" else b"line 0")
    (file,) = find_corpus(path).files
    assert first_rows(file, READERS) == rows[: 1 if kind == "txt" else 20]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(ConfigError, match=r"x\.parquet"):
        first_rows(find_corpus(path).files[0], READERS)


def test_a_source_without_rows_is_said_to_be_empty() -> None:
    with pytest.raises(UsageError, match="rows_missing: s: its files hold no row"):
        infer("s", [], "text", {"text": "body"})
