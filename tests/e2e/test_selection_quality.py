"""The selection benchmark as a user runs it: documents out, scores in, tables, a picture, one JSON object."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.selection.arms import ARMS
from mira_stream.demo.featurejudge.judge import judge_sha256

pytestmark = pytest.mark.demo
SCRIPT = Path(__file__).parents[2] / "bench" / "selection_quality.py"


def run(folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", *options], cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(1300)
def test_one_command_gives_documents_and_one_takes_scores_of_them(tmp_path: Path) -> None:
    run(tmp_path, "--export-documents", "documents.jsonl")
    documents = [json.loads(line) for line in (tmp_path / "documents.jsonl").read_text().splitlines()]
    assert len({document["id"] for document in documents}) == len(documents) > 100
    scores = [{"id": document["id"], "score": -len(document["text"])} for document in documents]
    (tmp_path / "scores.jsonl").write_text("\n".join(map(json.dumps, scores)))

    printed = run(tmp_path, "--arm", "shortest=scores.jsonl", "--plot", "picture.png")
    assert printed.startswith(f"feature judge sha256 {judge_sha256()}")
    result = json.loads(printed.splitlines()[-1])
    assert set(result["arms"]) == {*ARMS, "shortest"}
    assert result["arms"]["oracle"]["precision"] == max(arm["precision"] for arm in result["arms"].values())
    assert result["arms"]["shortest"]["length"] > 0.9
    assert result["arms"]["oracle"]["recall"] > 0.9
    assert set(result["comparisons"]) == {"mira-group - random-per-source", "mira-group - dsir"}
    assert {one["held_back"] for one in result["defects"].values()} == {True, False}
    assert all("shortest" in one["auc"] for one in result["executed"].values())
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert all(f"{word}" in printed for word in ("met  ", "missed", "no benchmark"))
