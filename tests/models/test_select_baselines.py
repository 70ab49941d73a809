"""The baselines of `select` that read texts, and the fixed rubric."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from mira_stream.cli import selecting_scores
from mira_stream.cli.main import main
from mira_stream.cli.selecting import amount
from mira_stream.config import load_project
from mira_stream.errors import UsageError
from mira_stream.parquet import read_columns, write_table
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.lineage import lineage
from mira_stream.selection.fixed_rubric import fixed_rubric
from mira_stream.selection.perplexity import TOKENS_MAX, Window, mean_nll
from tests.models.selection_model import save_language_model

pytestmark = pytest.mark.models

WORDS = ("alpha beta gamma delta", "sum of the squares", "apples and pears")
TOML = """
[groups.one]
family = "text"
[sources.s]
group = "one"
path = "s.jsonl"
retention = 0.25
[sources.unseen]
group = "one"
retention = 0.9
"""


def project(root: Path, documents: int = 40) -> Path:
    """A project of one source, and its documents' cards; every second document speaks of squares."""
    texts = [f"{WORDS[i % 2]} {i} " * (40 if i else 1) for i in range(documents)]
    (root / "mira.toml").write_text(TOML)
    rows = [orjson.dumps({"id": f"d{i}", "text": text}) for i, text in enumerate(texts)]
    (root / "s.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    (root / "target.jsonl").write_bytes(
        b"\n".join(orjson.dumps({"text": f"the sum of the squares {i}"}) for i in range(9))
    )
    columns: dict[str, list[Any]] = {
        "id": [f"d{i}" for i in range(documents)],
        "source": ["s"] * documents,
        "quality": [50.0] * documents,
        "tokens": [10] * documents,
    }
    write_table(
        root / "cards.parquet", {"id": "string", "source": "string", "quality": "float64", "tokens": "int64"}, columns
    )
    return root / "cards.parquet"


def chosen(out: Path) -> list[str]:
    return [id_ for path in sorted(out.glob("kept/*/*.parquet")) for id_ in read_columns(path)["id"]]


def run(root: Path, *arguments: str, out: str = "out") -> int:
    return main(["select", str(root / "cards.parquet"), "--project", str(root), "--out", str(root / out), *arguments])


def test_dsir_keeps_what_looks_like_the_target_and_its_texts(tmp_path: Path) -> None:
    project(tmp_path)
    flags = ["--method", "dsir", "--target", str(tmp_path / "target.jsonl"), "--tokens", "100"]
    assert run(tmp_path, *flags, "--top-k", "--content", "project") == 0
    assert all(int(id_[1:]) % 2 == 1 for id_ in chosen(tmp_path / "out"))
    manifest = orjson.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest["method"], manifest["score"], manifest["kept"]["tokens"]) == ("dsir", "dsir", 100)
    content = read_columns(tmp_path / "out" / "content" / "s" / "part-00000.parquet")
    assert sorted(content["id"]) == sorted(chosen(tmp_path / "out"))
    assert all("squares" in text for text in content["text"])


def test_dsir_resamples_by_the_hash_of_the_id_and_puts_short_documents_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path)
    flags = ["--method", "dsir", "--target", str(tmp_path / "target.jsonl"), "--tokens", "390"]
    assert [run(tmp_path, *flags, out=out) for out in ("a", "b")] == [0, 0]
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()
    assert set(chosen(tmp_path / "a")) == {f"d{i}" for i in range(1, 40)}
    capsys.readouterr()
    texts = [f"{WORDS[i % 2]} {i} " * (40 if i < 30 else 1) for i in range(40)]
    rows = [orjson.dumps({"id": f"d{i}", "text": text}) for i, text in enumerate(texts)]
    (tmp_path / "s.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    assert run(tmp_path, *flags[:-1], "350", out="short") == 0
    assert {f"d{i}" for i in range(30)} < set(chosen(tmp_path / "short"))
    said = " ".join(capsys.readouterr().err.split())
    assert "all of 100 words or more, " in said
    assert "% of the shorter ones" in said
    assert "e+300" not in said


def test_ppl_keeps_what_the_model_expects(tmp_path: Path) -> None:
    project(tmp_path)
    model = tmp_path / "model"
    save_language_model(model)
    texts = [orjson.loads(line)["text"] for line in (tmp_path / "s.jsonl").read_bytes().splitlines()]
    surprises = mean_nll(model, texts)
    assert run(tmp_path, "--method", "ppl", "--model", str(model), "--tokens", "100") == 0
    assert set(chosen(tmp_path / "out")) == {f"d{i}" for i in surprises.argsort()[:10]}


def test_no_window_of_ppl_is_as_long_as_a_models_context_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, 3)
    lengths: list[int] = []

    def score(windows: Sequence[Window]) -> list[float]:
        lengths.extend(len(window.ids) for window in windows)
        return [1.0] * len(windows)

    loaded = score, lambda text: list(range(5 * TOKENS_MAX)), 100 * TOKENS_MAX
    monkeypatch.setattr(selecting_scores, "load_model", lambda folder: loaded)
    monkeypatch.setattr(selecting_scores, "SAID_EVERY_S", 0.0)
    assert run(tmp_path, "--method", "ppl", "--model", str(tmp_path), "--tokens", "20") == 0
    assert max(lengths) == TOKENS_MAX


def test_without_a_budget_mira_toml_says_what_a_source_keeps(tmp_path: Path) -> None:
    project(tmp_path)
    assert run(tmp_path) == 0
    assert len(chosen(tmp_path / "out")) == 10
    assert run(tmp_path, "--retention", "0.5", out="half") == 0
    assert len(chosen(tmp_path / "half")) == 20
    assert run(tmp_path, "--retention", "t=0.5", out="no") == 3


@pytest.mark.parametrize(
    "flags",
    [
        ("--tokens", "1", "--method", "dsir"),
        ("--tokens", "1", "--method", "ppl"),
        ("--tokens", "1", "--method", "best"),
        ("--tokens", "1", "--retention", "0.5"),
        ("--retention", "1.5"),
        ("--retention", "0.5", "--min-share", "s=0.5"),
        ("--tokens", "1", "--variant", "local"),
        ("--tokens", "1", "--write-rubric", "one"),
        ("--tokens", "1", "--unit", "documents"),
        ("--tokens", "1", "--target", "target.jsonl"),
        ("--tokens", "1", "--top-k"),
        ("--tokens", "1", "--model", "model"),
    ],
)
def test_a_command_line_that_says_nothing_clear_is_refused(tmp_path: Path, flags: tuple[str, ...]) -> None:
    project(tmp_path)
    assert run(tmp_path, *flags) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--method", "dsir", "--target", "nowhere.jsonl"), "target_unreadable: nowhere.jsonl does not exist"),
        (("--method", "ppl", "--model", "nowhere"), "model_unreadable: nowhere: there is no such folder"),
        (("--project", "nowhere"), "project_missing"),
    ],
)
def test_what_is_named_must_be_there(
    tmp_path: Path, flags: tuple[str, ...], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path)
    assert run(tmp_path, "--tokens", "100", *flags) == 3
    assert code in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("text", "tokens"), [("25B", 25 * 10**9), ("1.5m", 1_500_000), ("800k", 800_000), ("12,345", 12_345), ("0.001k", 1)]
)
def test_amounts(text: str, tokens: int) -> None:
    assert amount(text) == tokens


@pytest.mark.parametrize("text", ["", "B", "-5", "1e9", "5 apples"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(UsageError):
        amount(text)


def test_the_fixed_rubric_is_written_and_asked_for(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    project(tmp_path)
    fixed = ["--method", "fixed-rubric-14", "--tokens", "100"]
    assert run(tmp_path, *fixed) == 3
    assert b"--write-rubric one" in capfdbinary.readouterr().err
    assert run(tmp_path, *fixed, "--write-rubric", "one") == 0
    rubric = load_rubric(tmp_path / "rubrics" / "one.jsonl")
    assert (rubric.header.group, rubric.names[0], rubric.names[13]) == ("one", "Accuracy", "Overall Score")
    assert run(tmp_path, *fixed) == 3, "A15 counts"
    served = 'family = "text"\nengine = "openai"\nmodel = "m"\nbase_urls = ["http://127.0.0.1:1/v1"]'
    masked = TOML.replace('group = "one"', 'group = "one"\nmask_remove = ["A15"]')
    (tmp_path / "mira.toml").write_text(masked.replace('family = "text"', served))
    (tmp_path / "prompts" / "one").mkdir(parents=True)
    (tmp_path / "prompts" / "one" / "system.txt").write_text("${calibration}")
    (tmp_path / "prompts" / "one" / "user.txt").write_text("${dimensions}\n${document}")
    capfdbinary.readouterr()
    assert run(tmp_path, *fixed) == 3
    said = capfdbinary.readouterr().err
    assert b"lineage_missing: cards.parquet has no column lineage" in said, "whose scores these are, nobody can tell"
    assert b"--method fixed-rubric-14 takes cards of this project's own lineage only" in said
    assert b"leave out --lineage" not in said, "nobody gave it"
    cards = read_columns(tmp_path / "cards.parquet")
    schema: dict[str, Any] = {"id": "string", "source": "string", "quality": "float64", "tokens": "int64"}
    own = lineage(load_project(tmp_path, {}), "one")
    for found, code in (("0" * 12, 3), (own, 0)):
        given = {**cards, "lineage": [found] * len(cards["id"])}
        write_table(tmp_path / "cards.parquet", {**schema, "lineage": "string"}, given)
        assert run(tmp_path, *fixed) == code
        said = capfdbinary.readouterr().err
        assert (b"40 other_lineage" in said) == (code == 3), "scores of another rubric are not passed off as these"
    (tmp_path / "rubrics" / "one.jsonl").write_bytes(fixed_rubric("one") + b"\n")
    assert run(tmp_path, *fixed, "--write-rubric", "one") == 3, "it was edited"
