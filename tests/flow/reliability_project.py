"""A project with labels and a student that repeats its teacher, for the tests of `mira-stream reliability`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from mira_stream.chance import u
from mira_stream.cli import measuring
from mira_stream.cli.main import main
from mira_stream.config import Project, load_project
from mira_stream.demo.featurejudge import judge
from mira_stream.distill.labels import SCHEMA, Label, about, columns
from mira_stream.parquet import write_table
from mira_stream.prompt import load_prompt
from mira_stream.reliability.measure import Measured
from mira_stream.reliability.table import Table, load_table
from mira_stream.rubric.anchors import Rubric, load_rubric

DEMO = Path(judge.__file__).parents[1] / "project"
NAMES = load_rubric(DEMO / "rubrics" / "text.jsonl").names
TOML = f"""
[groups.text]
family = "text"
student = "{DEMO / "students" / "text"}"
context_tokens_max = 1280
[sources.notes]
group = "text"
path = "notes.jsonl"
[sources.letters]
group = "text"
path = "letters.jsonl"
retention = 0.25
"""


def labels(count: int, split: str = "heldout") -> list[Label]:
    """Views as different as measured features can tell apart, judged by the stand-in teacher."""
    chance = np.random.default_rng(len(split))
    found = []
    for i in range(count):
        lines = [
            " ".join(f"word{chance.integers(40)}" for _ in range(chance.integers(3, 14))) + "." * chance.integers(0, 3)
            for _ in range(chance.integers(2, 12))
        ]
        view = "\n".join(["# Note", "", *lines] if i % 3 else lines)
        found.append(
            Label(
                id=f"{split}-{i}",
                source="notes" if i % 10 else "letters",
                split="heldout" if split == "heldout" else "distill",
                cluster=f"{split}-{i - i % 2}",
                window=0,
                cut=0,
                view=view,
                scores=[float(score) for score in judge.scores("text", view, NAMES)],
                overall=50.0,
                recommendation="keep",
            )
        )
    return found


def rubric(root: Path) -> Rubric:
    return load_rubric(load_project(root, {}).rubric_path("text"))


def write_labels(root: Path, rows: Sequence[Label], name: str = "all.parquet", **metadata: str) -> Path:
    path = root / name
    prompt = load_prompt(load_project(root, {}).prompts_path("text"), rubric(root)).files_sha256
    known = about(rubric(root).version, "featurejudge", prompt, "scores", 0.0)
    write_table(path, SCHEMA, columns(rows), {**known, **metadata})
    return path


def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose student repeats its teacher, one score in three a point off."""
    (tmp_path / "mira.toml").write_text(TOML)
    for part in ("rubrics/text.jsonl", "prompts/text/system.txt", "prompts/text/user.txt"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((DEMO / part).read_bytes())

    def ask(
        project: Project, group: str, held_out: measuring.HeldOut, rubric: Rubric, threads: int, served: bool
    ) -> list[Measured]:
        return [
            Measured(
                label.id,
                label.source,
                label.scores,
                [min(10.0, s + (u("seed", f"{label.id}{i}") < 0.3)) for i, s in enumerate(label.scores)],
                label.overall,
                label.recommendation,
                label.cluster,
            )
            for label in held_out.measured
        ]

    monkeypatch.setattr(measuring, "ask_student", ask)
    return tmp_path


def run(root: Path, *more: str) -> int:
    return main(["reliability", "--project", str(root), "--group", "text", *more])


def table_of(root: Path) -> Table:
    return load_table(load_project(root, {}).reliability_path("text"))


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    return found
