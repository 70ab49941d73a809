"""What is read of a project's sources, and what is said of rows that are no documents."""

from pathlib import Path

import pytest

from mira_stream.cli import sampled
from mira_stream.cli.sampled import read_aloud, source_documents
from mira_stream.config import load_project
from mira_stream.messages import Document


def test_rows_that_are_no_documents_are_said_once_with_their_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled, "_said", set())
    (tmp_path / "mira.toml").write_text('[sources.notes]\nfamily = "text"\npath = "notes.jsonl"\n')
    rows = ['{"id": "1", "text": "a note"}', '{"id": "2", "text": " "}', "{not json", '{"id": "4", "text": ""}']
    (tmp_path / "notes.jsonl").write_text("\n".join(rows))
    project = load_project(tmp_path, {})
    for _ in range(3):
        assert [document.id for document in source_documents(project, "notes")] == ["1"]
    said = capsys.readouterr().err
    assert said.count("no documents: 2 empty_document, 1 invalid_json; the first: ") == 1
    assert len(said.splitlines()) == 1


def test_how_much_is_read_is_said_where_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [Document(id=f"d{i}", source="notes", text="a note") for i in range(100)]
    clock = iter(range(1000))
    monkeypatch.setattr(sampled, "monotonic", lambda: next(clock))
    assert list(read_aloud("notes", documents)) == documents
    said = [f"notes: {count} documents read so far" for count in (10, 20, 40, 80)]
    assert capsys.readouterr().err.splitlines() == [*said, "notes: all read, 100 documents"]
    assert list(read_aloud("notes", documents[:9])) == documents[:9]
    assert not capsys.readouterr().err, "it took no time"
