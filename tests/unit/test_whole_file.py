"""Files that are whole or not there."""

import os
from pathlib import Path

import pytest

from mira_stream.whole_file import replace_file, write_lines


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    replace_file(path, b"first")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            replace_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path], "nothing is left beside it"


def test_a_file_of_no_lines_is_none(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    write_lines(path, [b"a", b"b"])
    assert path.read_bytes() == b"a\nb\n"
    write_lines(path, [])
    assert not path.exists()
    write_lines(path, [])
