"""`mira-stream rubric`: grouping, placing, showing, comparing, with a small embedding in place of the model."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from mira_stream.cli import grouping
from mira_stream.cli.main import main
from mira_stream.config import load_project
from mira_stream.embedding import Embedder
from mira_stream.embedding.embedder import Progress
from mira_stream.errors import ConfigError, DocumentError
from mira_stream.ingest.source import SourceReader
from mira_stream.parquet import READERS
from mira_stream.records import Record
from mira_stream.scoring.documents import read_document

TOPICS = ("code", "prose", "numbers", "music")


def embed(self: Embedder, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
    """Counts the topics' words."""
    rows = np.array([[text.count(topic) + 0.01 for topic in TOPICS] for text in texts], np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Embedder, "embed", embed)
    sections = []
    for source, topic in (("c1", "code"), ("c2", "code"), ("p1", "prose"), ("p2", "prose"), ("m", "music")):
        lines = [msgspec.json.encode({"id": f"{source}{n}", "text": f"{topic} {n}"}) for n in range(3)]
        (tmp_path / f"{source}.jsonl").write_bytes(b"\n".join(lines))
        if source != "m":
            sections.append(f"[sources.{source}]\nfamily = 'text'\npath = '{source}.jsonl'\n")
    (tmp_path / "mira.toml").write_text("# ours\n" + "\n".join(sections))
    return tmp_path


def rubric(*arguments: str, root: Path) -> int:
    return main(["rubric", *arguments, "--project", str(root), "--json"])


def test_group_writes_and_says_so(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert rubric("group", "--dry-run", root=root) == 0
    assert not (root / "reports").exists()
    capfdbinary.readouterr()
    assert rubric("group", root=root) == 0
    report = msgspec.json.decode(capfdbinary.readouterr().out)
    assert [one["sources"] for one in report["groups"]] == [{"c1": 3, "c2": 3}, {"p1": 3, "p2": 3}]
    assert report["few_documents"] == ["c1", "c2", "p1", "p2"]
    project = load_project(root)
    assert project.settings.sources_of("text-2") == ["p1", "p2"]
    assert (root / "mira.toml").read_text().startswith("# ours")
    assert {path.name for path in (root / "reports").iterdir()} == {"grouping.json", "grouping.png", "grouping.html"}
    before = (root / "mira.toml").read_bytes()
    assert rubric("group", root=root) == 0
    assert (root / "mira.toml").read_bytes() == before


def test_group_that_is_ended_before_its_report_leaves_the_project_ungrouped(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the pipeline would take grouping for done, and its report would never come."""

    def ended(*_: object) -> bytes:
        raise KeyboardInterrupt

    before = (root / "mira.toml").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(grouping, "grouping_page", ended)
        assert rubric("group", root=root) != 0
    assert (root / "mira.toml").read_bytes() == before
    assert rubric("group", root=root) == 0
    assert (root / "reports" / "grouping.html").is_file()
    assert load_project(root).settings.groups


@pytest.mark.parametrize(
    ("k", "code", "groups"), [("1", 0, 1), ("text=2", 0, 2), ("text=3", 3, 0), ("5", 3, 0), ("txt=2", 2, 0)]
)
def test_k(root: Path, k: str, code: int, groups: int, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert rubric("group", "--k", k, root=root) == code
    said = capfdbinary.readouterr().err
    assert (b"documents embedded" in said) == (k not in ("5", "txt=2")), "a k that cannot be is said before the work"
    assert (b"[grouping] k of mira.toml" in said) == (code == 3)
    assert len(load_project(root).settings.groups) == groups


def test_sources_that_have_little_in_common_are_named(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert rubric("group", "--k", "1", "--dry-run", root=root) == 0
    said = capfdbinary.readouterr()
    assert msgspec.json.decode(said.out)["unlike"] == ["text"]
    assert b"the sources of text are less alike than novel_below" in said.err
    assert rubric("group", "--dry-run", root=root) == 0
    assert msgspec.json.decode(capfdbinary.readouterr().out)["unlike"] == []


def test_a_wrong_path_is_said_before_anything_is_embedded(
    root: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with (root / "mira.toml").open("a") as file:
        file.write("\n[sources.z]\nfamily = 'text'\npath = 'nowhere.jsonl'\n")
    assert rubric("group", root=root) == 3
    said = capfdbinary.readouterr().err
    assert b"source_missing" in said
    assert b"embedded" not in said


def test_a_new_source_is_placed_or_novel(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert rubric("group", root=root) == 0
    with (root / "mira.toml").open("a") as file:
        file.write(
            "\n[sources.c3]\nfamily = 'text'\npath = 'c1.jsonl'\n[sources.m]\nfamily = 'text'\npath = 'm.jsonl'\n"
        )
    assert rubric("place", "c3", root=root) == 0
    assert load_project(root).settings.sources["c3"].group == "text-1"
    capfdbinary.readouterr()
    before = (root / "mira.toml").read_bytes()
    assert rubric("place", "m", root=root) == 1
    said = capfdbinary.readouterr()
    found = msgspec.json.decode(said.out)
    assert (found["novel"], found["group"]) == (True, None)
    assert b"source_novel" in said.err
    assert (root / "mira.toml").read_bytes() == before
    assert rubric("place", "nobody", root=root) == 2
    settings = (root / "mira.toml").read_text()
    head, found, rest = settings.partition("[sources.c3]")
    (root / "mira.toml").write_text(head + found + rest.replace("text-1", "text-2", 1))
    assert rubric("place", "c3", root=root) == 0
    assert b"group text-1, cosine 1.000; written (it was in text-2)" in capfdbinary.readouterr().err


def test_a_source_in_no_group_is_not_streamed(root: Path) -> None:
    project = load_project(root)
    with pytest.raises(ConfigError, match="source_unplaced"):
        SourceReader(project, "c1", project.settings.sources["c1"], READERS)
    record = Record(
        "t", 0, 0, 0, None, msgspec.json.encode({"schema": "document.v1", "id": "d", "source": "c1", "text": "x"})
    )
    with pytest.raises(DocumentError, match="wrong_group: source 'c1' is in no group yet"):
        read_document(record, project.settings.sources, "text-1")


def test_discover_wants_a_group(root: Path) -> None:
    assert rubric("discover", root=root) == 2
    assert rubric("discover", "--all", root=root) == 3
    assert rubric("group", root=root) == 0
    assert rubric("discover", "-g", "nobody", root=root) == 2
    assert rubric("discover", "-g", "text-1", "--max-cost", "1", root=root) == 2


def test_show_and_diff(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    lines: list[dict[str, object]] = [{"schema": "rubric.v1", "group": "g", "teacher": "t", "created_by": "hand"}]
    lines += [
        {"schema": "anchor.v1", "slot": f"A{n}", "name": f"Name {n}", "description": TOPICS[n % 4], "examples": []}
        for n in range(1, 16)
    ]
    (root / "rubrics").mkdir()
    for name in ("g", "h"):
        (root / "rubrics" / f"{name}.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
        lines[3]["name"] = "Another"
    assert rubric("show", "g", root=root) == 0
    assert msgspec.json.decode(capfdbinary.readouterr().out)["anchors"][2]["name"] == "Name 3"
    assert rubric("diff", "g", "g", root=root) == 0
    assert msgspec.json.decode(capfdbinary.readouterr().out)["same"] is True
    assert rubric("diff", "g", "h", root=root) == 1
    told = capfdbinary.readouterr()
    slots = msgspec.json.decode(told.out)["slots"]
    assert told.err.endswith(b": 14 of 15 slots have the same name\n")
    assert [one["how"] for one in slots].count("same") == 14
    assert slots[2] == {
        "how": "renamed",
        "before": {"slot": "A3", "name": "Name 3"},
        "after": {"slot": "A3", "name": "Another"},
        "cosine": 1.0,
    }
    assert rubric("show", "nobody", root=root) == 3
    assert b"groups_missing" in capfdbinary.readouterr().err
    with (root / "mira.toml").open("a") as file:
        file.write('\n[groups.k]\nfamily = "text"\n')
    assert rubric("diff", "g", "nobody", root=root) == 2
    assert b"use one of k" in capfdbinary.readouterr().err
    assert rubric("show", "k", root=root) == 3
    assert f"mira-stream rubric discover --group k --project {root}".encode() in capfdbinary.readouterr().err
