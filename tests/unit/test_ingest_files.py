"""Which files make up a corpus, and which version of a file is read."""

from pathlib import Path

import pytest

from mira_stream.config import Settings
from mira_stream.errors import ConfigError, DataLossError, UsageError
from mira_stream.ingest import corpus_source, find_corpus
from mira_stream.ingest.files import CorpusFile, etag_of
from mira_stream.ingest.positions import go_on
from mira_stream.messages import IngestPosition
from mira_stream.sections import GroupSection, SourceSection


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_a_folder_of_text_files(tmp_path: Path) -> None:
    write(tmp_path, "c/b.md", "c/a b.txt", "c/sub/z.py", "c/sub/noname", "c/.hidden", "c/.git/config", "c/ü.rst")
    corpus = find_corpus(tmp_path / "c")
    assert [file.uri for file in corpus.files] == [
        "c/a%20b.txt",
        "c/b.md",
        "c/%C3%BC.rst",
        "c/sub/noname",
        "c/sub/z.py",
    ]
    assert {file.format for file in corpus.files} == {"text"}
    assert (corpus.root, corpus.left_out) == ("c", 0)


def test_a_folder_of_data_files_leaves_others_out(tmp_path: Path) -> None:
    write(tmp_path, "README.md", "data/b.parquet", "data/a.jsonl.GZ", "data/c.ndjson", "data/d.jsonl.zst", "LICENSE")
    corpus = find_corpus(tmp_path)
    assert [file.format for file in corpus.files] == ["jsonl.gz", "parquet", "jsonl", "jsonl.zst"]
    assert corpus.left_out == 2


def test_one_file(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", "b.txt")
    assert find_corpus(tmp_path / "a.jsonl").files[0][1:] == ("a.jsonl", "jsonl", None)
    assert find_corpus(tmp_path / "b.txt").files[0][1:] == ("b.txt", "text", None)


def test_nothing_to_read(tmp_path: Path) -> None:
    write(tmp_path, "a.docx", "only/.hidden")
    for name, code in {"none": "source_missing", "a.docx": "format_unknown", "only": "source_empty"}.items():
        with pytest.raises(ConfigError, match=code):
            find_corpus(tmp_path / name)


def test_linked_folders_are_not_entered(tmp_path: Path) -> None:
    write(tmp_path, "c/a.txt")
    (tmp_path / "c" / "loop").symlink_to(tmp_path / "c")
    assert len(find_corpus(tmp_path / "c").files) == 1


def last(path: Path, next_: int, done: bool = True, unit: str = "byte") -> IngestPosition:
    return IngestPosition(
        feed="s:f", etag=etag_of(path), unit=unit, next=next_, documents=3, rejected=1, done=done  # type: ignore[arg-type]
    )  # fmt: skip


def test_where_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" * 10)
    file = CorpusFile(path, "a.jsonl", "jsonl")
    new = go_on("s:f", file, None, False)
    assert (new.next, new.documents, new.done, new.unit) == (0, 0, False, "byte")
    stopped, done = last(path, 6, done=False), last(path, 30)
    assert go_on("s:f", file, stopped, False) == stopped
    assert go_on("s:f", file, done, False) == done
    path.write_bytes(b"{}\n" * 12)
    grown = go_on("s:f", file, done, False)
    assert (grown.next, grown.documents, grown.done, grown.etag) == (30, 3, False, etag_of(path))


@pytest.mark.parametrize("content", [b'{"a"' * 20, b"{}\n" * 9, b"[]\n" * 10, b"{}\n" * 9 + b"{} more\n"])
def test_a_changed_file_is_refused_unless_asked_for(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" * 9 + b"{}")
    done = last(path, 29)
    path.write_bytes(content)
    file = CorpusFile(path, "a.jsonl", "jsonl")
    with pytest.raises(DataLossError, match="--again"):
        go_on("s:f", file, done, False)
    again = go_on("s:f", file, done, True)
    assert (again.next, again.documents, again.rejected, again.done) == (0, 3, 1, False)


def test_a_last_line_without_end_may_get_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n{}")
    done = last(path, 5)
    path.write_bytes(b"{}\n{}\n{}\n")
    assert go_on("s:f", CorpusFile(path, "a.jsonl", "jsonl"), done, False).next == 5


def test_only_lines_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"x" * 10)
    done = last(path, 1, unit="row")
    path.write_bytes(b"x" * 12)
    with pytest.raises(DataLossError, match="source_changed"):
        go_on("s:f", CorpusFile(path, "a.parquet", "parquet"), done, False)


def test_etags_see_both_ends_and_the_size(tmp_path: Path) -> None:
    path = tmp_path / "big"
    whole = bytearray(b"x" * 300_000)
    path.write_bytes(whole)
    etags = {etag_of(path)}
    for place in (0, 70_000 - 5_000, 299_999):
        changed = whole.copy()
        changed[place] = 0
        path.write_bytes(changed)
        etags.add(etag_of(path))
    path.write_bytes(whole + b"x")
    etags.add(etag_of(path))
    assert len(etags) == 5
    assert etag_of(path, 300_000) in etags


def test_the_corpus_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(groups={"g": GroupSection(family="text")}, sources={"web": SourceSection(group="g", text="t")})
    assert corpus_source("web=a=b.jsonl", settings) == (
        "web",
        SourceSection(group="g", text="t", path=str(tmp_path / "a=b.jsonl")),
    )
    for option, code in {"web": "corpus_invalid", "web=": "corpus_invalid", "=x": "corpus_invalid"}.items():
        with pytest.raises(UsageError, match=code):
            corpus_source(option, settings)
    with pytest.raises(UsageError, match=r"source_unknown.*web"):
        corpus_source("new=x.jsonl", settings)
