"""Parquet files as the project writes and reads them."""

import os
from pathlib import Path

import pytest

from mira_stream.errors import ConfigError
from mira_stream.exporting.schema import Schema
from mira_stream.parquet import column_names, read_columns, read_metadata, write_table

SCHEMA: Schema = {
    "id": "string",
    "n": "int64",
    "x": "float64",
    "ok": "bool",
    "names": "strings",
    "scores": "floats",
}
COLUMNS: dict[str, list[object]] = {
    "id": ["a", "ü", None],
    "n": [1, None, -3],
    "x": [0.5, None, 2.0],
    "ok": [True, False, None],
    "names": [["a"], [], None],
    "scores": [[1.0, None], None, []],
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.parquet"
    write_table(path, SCHEMA, COLUMNS, {"teacher": "featurejudge"})
    assert read_columns(path) == COLUMNS
    assert read_columns(path, ["ok", "n"]) == {"ok": COLUMNS["ok"], "n": COLUMNS["n"]}
    assert column_names(path) == list(SCHEMA)
    assert read_metadata(path) == {"teacher": "featurejudge"}
    assert os.listdir(path.parent) == ["table.parquet"]


def test_a_wrong_value_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, {"n": "int64"}, {"n": [1]})
    with pytest.raises((TypeError, ValueError)):
        write_table(path, {"n": "int64"}, {"n": ["one"]})
    with pytest.raises(KeyError):
        write_table(path, {"n": "int64"}, {})
    assert read_columns(path) == {"n": [1]}
    assert os.listdir(tmp_path) == ["table.parquet"]


def test_bad_files_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    with pytest.raises(ConfigError, match="parquet_missing"):
        read_columns(path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(ConfigError, match="parquet_unreadable"):
        read_columns(path)
    write_table(path, {"n": "int64"}, {"n": [1]})
    with pytest.raises(ConfigError, match=r"column_missing.* m "):
        read_columns(path, ["n", "m"])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match="parquet_unreadable"):
        column_names(path)
