"""label, distill, reliability: the whole way from a user's file to a student and its table, in small."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from consumers.scorer import score
from mira_stream.chance import is_heldout
from mira_stream.cli.distill import LAUNCHED, launch
from mira_stream.cli.main import main
from mira_stream.config import load_project
from mira_stream.demo.featurejudge import judge
from mira_stream.distill.folder import Making, write_model
from mira_stream.distill.labels import is_measured
from mira_stream.distill.recipe import Base, Recipe, load_recipe
from mira_stream.distill.run import student_tokenizer
from mira_stream.distill.student import new_student
from mira_stream.distill.tokenizer import save_tokenizer, vocabulary
from mira_stream.errors import ConfigError, UsageError
from mira_stream.parquet import read_columns
from mira_stream.prompt import load_prompt
from mira_stream.reliability.table import load_table
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.lineage import lineage
from mira_stream.vllm_engine import VllmEngine
from tests.models import student_tiny

pytestmark = pytest.mark.models

DEMO = Path(judge.__file__).parents[1] / "project"
TOML = """
[groups.text]
family = "text"
document_tokens_max = 100
[sources.notes]
group = "text"
path = "notes.jsonl"
id = "name"
[teacher]
model = "featurejudge"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mira.toml").write_text(TOML)
    (tmp_path / "distill.toml").write_text(student_tiny.TOML)
    for part in ("rubrics/text.jsonl", "prompts/text/system.txt", "prompts/text/user.txt"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((DEMO / part).read_bytes())
    rows = [
        {"name": f"n{i}", "text": f"Note {i}. It says that {i % 7} things are done. " * (i % 5 + 4)} for i in range(80)
    ]
    (tmp_path / "notes.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return tmp_path


def test_from_documents_to_a_student_and_its_table(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = project / "all.parquet"
    place = ["--project", str(project), "--group", "text", "--labels", str(labels), "--json"]

    assert main(["label", *place, "--documents", "20", "--heldout", "10", "--cuts", "2"]) == 0
    said = orjson.loads(capsys.readouterr().out)
    rows = read_columns(labels)
    names = load_rubric(project / "rubrics" / "text.jsonl").names
    assert said["heldout"] == rows["split"].count("heldout") <= 10
    assert said["training"] == rows["split"].count("distill") > 20
    assert all(is_heldout(name) == (split == "heldout") for name, split in zip(rows["id"], rows["split"], strict=True))
    for view, scores in zip(rows["view"], rows["scores"], strict=True):
        assert scores == judge.scores("text", view, names)

    assert main(["distill", *place, "--plain", "--threads", "1"]) == 0
    assert orjson.loads(capsys.readouterr().out)["step"] > 0
    loaded = load_project(project, {})
    config = orjson.loads((loaded.student_path("text") / "config.json").read_bytes())
    assert config["mira"]["teacher"] == "featurejudge"
    rubric = load_rubric(loaded.rubric_path("text"))
    assert config["mira"]["rubric"] == rubric.version
    assert config["mira"]["prompt"] == load_prompt(loaded.prompts_path("text"), rubric).files_sha256

    assert main(["reliability", *place, "--threads", "1"]) == 0
    table = load_table(loaded.reliability_path("text"))
    assert table.modes["scores"].lineage == lineage(loaded, "text")
    shipped = read_columns(loaded.labels_path("text"))
    assert "view" not in shipped
    assert shipped["scores"] == [
        s for s, split in zip(rows["scores"], rows["split"], strict=True) if split == "heldout"
    ]
    assert all(map(is_measured, shipped["id"]))
    assert table.modes["scores"].sources["notes"].n == len(shipped["id"]) > 0


def test_labels_and_student_of_a_prompt_edited_since_are_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = labelled(project)
    assert main(["distill", *place, "--plain", "--threads", "1"]) == 0
    user = project / "prompts/text/user.txt"
    before = user.read_text()
    user.write_text(f"Be strict.\n{before}")
    capsys.readouterr()
    for command in (["distill", "--plain"], ["distill", "--plan"], ["reliability"]):
        assert main([command[0], *place, *command[1:]]) == 3
        said = capsys.readouterr().err
        assert "prompt_mismatch" in said
        assert "put system.txt and user.txt back as they were, or label anew: mira-stream label" in " ".join(
            said.split()
        )
    assert main(["label", *place, "--documents", "6", "--heldout", "3", "--anew"]) == 0
    assert main(["reliability", *place]) == 3
    assert "student_prompt" in capsys.readouterr().err
    user.write_text(before)
    assert main(["label", *place, "--documents", "6", "--heldout", "3", "--anew"]) == 0
    assert main(["reliability", *place, "--threads", "1"]) == 0


def test_what_is_missing_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--project", str(project), "--group", "text"]
    assert main(["distill", *place]) == 3
    assert "parquet_missing" in capsys.readouterr().err
    assert main(["label", "--project", str(project), "--group", "prose"]) == 2
    assert "group_unknown" in capsys.readouterr().err
    (project / "mira.toml").write_text(TOML.replace('"featurejudge"', '"kimi"'))
    assert main(["label", *place, "--documents", "3"]) == 3
    assert "teacher_missing" in capsys.readouterr().err


def test_before_distill_the_table_asks_for_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is there since `label` put a tokenizer into it."""
    place = ["--project", str(project), "--group", "text"]
    assert main(["label", *place, "--documents", "30", "--heldout", "5"]) == 0
    assert (project / "students/text/tokenizer.json").is_file()
    capsys.readouterr()
    assert main(["reliability", *place]) == 3
    said = capsys.readouterr().err
    assert "student_missing" in said
    assert f"do: train it: mira-stream distill --group text --project {project}" in said
    loaded, nothing = load_project(project, {}), cast("Any", None)
    with pytest.raises(ConfigError, match=r"student_missing.*train it: mira-stream distill --group text"):
        asyncio.run(score(loaded, nothing, ["text"], nothing, nothing))
    with pytest.raises(ConfigError, match=r"student_missing.*train it: mira-stream distill --group text"):
        lineage(loaded, "text")
    with pytest.raises(ConfigError, match=r"student_missing.*train it: mira-stream distill --group text"):
        VllmEngine.for_group(loaded, "text")


def test_a_teacher_that_keeps_to_no_layout_labels_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(judge.FEATURES["text"][0].__class__, "score", lambda self, view: 99)
    place = ["--project", str(project), "--group", "text"]
    assert main(["label", *place, "--documents", "3", "--heldout", "1"]) == 4
    assert "teacher_unreadable" in capsys.readouterr().err
    assert not list(project.rglob("*.parquet"))


def labelled(project: Path) -> list[str]:
    """The options of a project whose labels are there."""
    place = ["--project", str(project), "--group", "text", "--labels", str(project / "all.parquet"), "--json"]
    assert main(["label", *place, "--documents", "6", "--heldout", "3"]) == 0
    return place


def test_a_plan_says_what_a_training_takes_and_trains_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = labelled(project)
    capsys.readouterr()
    assert main(["distill", *place, "--plan"]) == 0
    said = orjson.loads(capsys.readouterr().out)
    assert (said["start"], said["replies"]) == (
        "scratch",
        read_columns(project / "all.parquet")["split"].count("distill"),
    )
    assert said["tokens"] > said["replies"] * 30
    (project / "base").mkdir()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 560}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    (project / "base" / "config.json").write_bytes(orjson.dumps({"model_type": "qwen3", **sizes, **heads}))
    (project / "distill.toml").write_text('[base]\nmodel = "base"\n')
    assert main(["distill", *place, "--plan", "--gpus", "4", "--gpu-memory", "16"]) == 0
    captured = capsys.readouterr()
    plan = orjson.loads(captured.out)
    assert [one["devices"] for one in plan["memory"]] == [1, 4]
    assert plan["memory"][1]["fits"] is True
    assert plan["work"]["tokens_estimated"] is True
    assert plan["work"]["steps"] == 1
    assert "tokens are estimated" in captured.err
    assert main(["distill", "--project", str(project), "--group", "text", "--plan", "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["work"] is None
    assert not (project / "students" / "text" / "model.safetensors").exists()


def test_a_plan_says_what_a_head_takes_and_trains_nothing(
    project: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    place = labelled(project)
    assert main(["distill", *place, "--head", "--plan"]) == 3
    assert b"a head begins with a trained student" in capsysbinary.readouterr().err
    folder, recipe = project / "students" / "text", load_recipe(project)
    tokenizer = student_tokenizer(folder)
    model = new_student(recipe.scratch, vocabulary(tokenizer), 1)
    write_model(folder, model, dict(model.state_dict()), Making("t", "text", "r1", 1, 1))
    save_tokenizer(tokenizer, folder)
    before = sorted(project.rglob("*"))
    assert main(["distill", *place, "--head", "--plan"]) == 0
    said = orjson.loads(capsysbinary.readouterr().out)
    assert (said["start"], said["labels"]) == ("head", read_columns(project / "all.parquet")["split"].count("distill"))
    assert said["tokens"] >= 30 * said["labels"] * recipe.head.passes
    assert said["steps"] >= 1
    assert sorted(project.rglob("*")) == before
    assert main(["distill", *place, "--head", "--plan", "--gpus", "4"]) == 2
    assert b"head_alone: --gpus would be ignored" in capsysbinary.readouterr().err


def test_labels_of_another_rubric_train_nobody(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = labelled(project)
    rubric = project / "rubrics" / "text.jsonl"
    header, anchor, *others = rubric.read_bytes().splitlines()
    edited = orjson.dumps({**orjson.loads(anchor), "description": "Something else."})
    rubric.write_bytes(b"\n".join([header, edited, *others, b""]))
    assert main(["distill", *place]) == 3
    assert "rubric_mismatch" in capsys.readouterr().err


def test_justifications_nobody_gave_are_not_taught(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = labelled(project)
    (project / "mira.toml").write_text(TOML.replace('family = "text"', 'family = "text"\nmode = "rationale"'))
    assert main(["distill", *place]) == 3
    assert "justifications_missing" in capsys.readouterr().err


def test_accelerate_starts_the_same_command_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def become(path: str, command: list[str]) -> None:
        started.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", become)
    monkeypatch.setenv(LAUNCHED, "")
    monkeypatch.setattr(sys, "argv", ["mira-stream", "distill", "--group", "text"])
    loaded = load_project(project, {})
    launch(loaded, Recipe(), None)
    assert started == []
    with pytest.raises(UsageError, match="base_missing"):
        launch(loaded, Recipe(), project / "mira.toml")
    recipe = Recipe(base=Base(model="base", accelerate="fsdp.yaml"))
    with pytest.raises(ConfigError, match="accelerate_missing"):
        launch(loaded, recipe, None)
    (project / "fsdp.yaml").write_text("num_processes: 8\n")
    with pytest.raises(SystemExit):
        launch(loaded, recipe, None)
    starter = ["-m", "accelerate.commands.launch", "--config_file", str(loaded.root / "fsdp.yaml")]
    assert started == [[sys.executable, *starter, "-m", "mira_stream", "distill", "--group", "text"]]
    assert os.environ[LAUNCHED] == "1"
    launch(loaded, recipe, None)
    assert len(started) == 1
