"""A training that is stopped, killed or changed: it goes on where it was, or begins anew and says so."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import torch
from msgspec import structs
from safetensors.torch import load_file

from mira_stream.distill import rows
from mira_stream.distill import run as running
from mira_stream.distill.callbacks import Stop
from mira_stream.distill.checkpoints import open_training, training_folder
from mira_stream.distill.dataset import Lesson, check_lesson, reply_text
from mira_stream.distill.folder import publish, recover
from mira_stream.distill.labels import Label
from mira_stream.distill.recipe import Recipe, Training, load_recipe
from mira_stream.distill.run import TrainingRun, run_training
from mira_stream.distill.tokenizer import save_tokenizer
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS
from mira_stream.prompt import Prompt
from tests.models.student_tiny import RECIPE, TEXTS, tiny_tokenizer

pytestmark = pytest.mark.models

LESSON = Lesson(Prompt("Judge.", "", "", "0" * 64), SLOTS, "scores_first", "scores", 2048)


def label_of(number: int, split: str) -> Label:
    scores = [float(1 + (number + slot) % 10) for slot in range(15)]
    row = {"id": f"d{number}", "source": "s", "split": split, "window": 0, "cut": 0, "view": TEXTS[number % 8]}
    return Label(**row, scores=scores, overall=50.0, recommendation="drop")  # type: ignore[arg-type]


LABELS = [label_of(number, "distill") for number in range(6)] + [label_of(number, "heldout") for number in (6, 7)]


def training(root: Path, passes: int = 1, **changes: int) -> TrainingRun:
    """Six steps a pass: an example is a batch."""
    root.mkdir(exist_ok=True)
    if not (root / "student").exists():
        save_tokenizer(tiny_tokenizer(), root / "student")
    recipe = structs.replace(
        RECIPE,
        scratch=structs.replace(RECIPE.scratch, batch_tokens=1),
        training=Training(**{"passes": passes, "evaluate_every": 2, "patience": 50, **changes}),
    )
    return TrainingRun(
        root, root / "student", root / "curve.png", "text", "t", "r1", LESSON, LABELS, recipe, 1, compiled=False
    )


def weights(run: TrainingRun) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(run.folder / "model.safetensors")
    return found


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, as it were, within step `step`."""

    class Wished(Stop):
        steps = 0

        @property
        def wished(self) -> bool:
            self.steps += 1
            return self.steps >= step

        @wished.setter
        def wished(self, value: bool) -> None: ...

    monkeypatch.setattr(running, "Stop", Wished)


def test_a_stopped_training_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training(tmp_path / "whole")
    run_training(whole, print)
    stopped = training(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run_training(stopped, print)
    assert not (stopped.folder / "model.safetensors").exists()
    # A checkpoint that a kill cut short does not count, and goes.
    torn = training_folder(stopped.folder) / "checkpoint-900"
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{")
    said: list[str] = []
    run_training(stopped, said.append)
    assert "text: goes on from step 3" in said
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(stopped)[name]), name
    logs = [orjson.loads((run.folder / "trainer_state.json").read_bytes())["log_history"] for run in (whole, stopped)]
    measured = [[entry["eval_loss"] for entry in log if "eval_loss" in entry] for log in logs]
    assert measured[0] == measured[1]
    assert len(measured[0]) == 3
    assert not training_folder(stopped.folder).exists()


def test_a_killed_training_leaves_the_student_that_was_there(tmp_path: Path) -> None:
    """kill -9 within the fourth step; then the same training again, in another process."""
    run = training(tmp_path)
    (run.folder / "model.safetensors").write_bytes(b"the good one")
    code = """
import os, signal, sys
from pathlib import Path
from mira_stream.distill import rows
from tests.models.test_distill_training import run_training, training
step = rows.RowTrainer.compute_loss
def deadly(self, *rest, **keywords):
    if self.state.global_step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *rest, **keywords)
rows.RowTrainer.compute_loss = deadly
run_training(training(Path(sys.argv[1])), print)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr.decode()
    assert (run.folder / "model.safetensors").read_bytes() == b"the good one"
    said: list[str] = []
    summary = run_training(run, said.append)
    assert "text: goes on from step 2" in said
    assert summary["step"] == 6
    assert len(weights(run)) > 10


def test_another_recipe_or_other_labels_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(tmp_path)
    stop_at(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_training(run, print)
    assert open_training(run.folder, run.origin).checkpoint is not None
    for other, part in (
        (training(tmp_path, seed=21), "recipe"),
        (run._replace(labels=LABELS[1:]), "labels"),
        (run._replace(rubric="r2"), "rubric"),
    ):
        resumed = open_training(run.folder, other.origin)
        assert (resumed.checkpoint, resumed.changed) == (None, [part])
        assert open_training(run.folder, run.origin).changed == [part]


def test_no_better_measurement_ends_a_training_and_the_best_is_kept(tmp_path: Path) -> None:
    run = training(tmp_path, passes=5, patience=2)
    wild = structs.replace(run.recipe.scratch, learning_rate=3.0)
    run = run._replace(recipe=structs.replace(run.recipe, scratch=wild))
    summary = run_training(run, print)
    assert summary["step"] < summary["steps"]
    assert summary["best_step"] < summary["step"]
    state = orjson.loads((run.folder / "trainer_state.json").read_bytes())
    losses = {entry["step"]: entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry}
    assert min(losses, key=lambda step: losses[step]) == summary["best_step"]
    assert summary["eval_loss"] == min(losses.values())


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "student"

    def writes(name: str, text: str) -> Callable[[Path], None]:
        def write(new: Path) -> None:
            (new / name).write_text(text)

        return write

    publish(folder, writes("a", "1"))
    assert (folder / "a").read_text() == "1"

    def dies(new: Path) -> None:
        (new / "b").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(folder, dies)
    assert [path.name for path in folder.iterdir()] == ["a"]
    recover(folder)
    publish(folder, writes("b", "2"))
    assert [path.name for path in folder.iterdir()] == ["b"]
    folder.rename(tmp_path / ".student.old")  # killed between two renames
    recover(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_replies_of_both_layouts(tmp_path: Path) -> None:
    label = structs.replace(LABELS[0], scores=[7.5, 8.5, 0.4, 9.96] + [5.0] * 11, overall=53.4)
    lines = reply_text(label, LESSON, 1).splitlines()
    assert lines[:5] == ["[A1] 8/10", "[A2] 8/10", "[A3] 1/10", "[A4] 10/10", "[A5] 5/10"]
    assert lines[15:] == ["overall: 53", "training_recommendation: drop"]
    rationale = LESSON._replace(mode="rationale")
    with pytest.raises(ConfigError, match=r"justifications_missing: 1 of 1"):
        check_lesson(rationale, [label])
    told = structs.replace(label, justifications=["so"] * 15, domain_tag="code", brief="short")
    check_lesson(rationale, [told])
    assert reply_text(told, rationale).splitlines()[-1] == "[A15] so"
    interleaved = rationale._replace(layout="interleaved")
    assert reply_text(told, interleaved).splitlines()[0] == "[A1] A1: 7.5/10 — so"
    with pytest.raises(ConfigError, match="mode_invalid"):
        check_lesson(LESSON._replace(layout="interleaved"), [label])


def test_a_recipe_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    assert load_recipe(tmp_path) == Recipe()
    (tmp_path / "distill.toml").write_text("[training]\npasses = 3\n[base]\nmodel = 'm'\n")
    assert load_recipe(tmp_path).training.passes == 3
    for text in ("[training]\npases = 3\n", "[lora]\nr = 8\n", "[training]\npasses = 0\n", "[training"):
        (tmp_path / "distill.toml").write_text(text)
        with pytest.raises(ConfigError, match="recipe_invalid"):
            load_recipe(tmp_path)


@pytest.mark.parametrize(("there", "word"), [(True, "the first steps are compiled"), (False, "no C++ compiler")])
def test_whether_steps_are_compiled_is_said(monkeypatch: pytest.MonkeyPatch, there: bool, word: str) -> None:
    said: list[str] = []
    monkeypatch.setattr(rows, "which", lambda name: name if there else None)
    assert rows._can_compile(said.append) is there
    assert [line.startswith(word) for line in said] == [True]
