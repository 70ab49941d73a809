"""What is read of a project's sources, and what is said of rows that are no documents."""

from pathlib import Path

import pytest

from mira_stream.cli import sampled
from mira_stream.cli.sampled import source_documents
from mira_stream.config import load_project


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
