"""A whole training: labels in, a student's folder out; and the student's scores for labelled views.

1. The training's folder of checkpoints is opened: the last whole checkpoint of the same recipe, labels, rubric and
   prompt is gone on from; anything else is a new training.
2. The Trainer trains; the best checkpoint on held-out labels is restored at its end.
3. The student's folder is replaced as a whole, the learning curve drawn, the checkpoints are removed.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import orjson
import torch
from accelerate import PartialState
from transformers import PreTrainedTokenizerFast, TrainerState

from mira_stream.distill import head as heads
from mira_stream.distill import scratch
from mira_stream.distill.callbacks import Progress, Say, Stop, StopCallback
from mira_stream.distill.checkpoints import Resumed, digest, open_training
from mira_stream.distill.curve import draw
from mira_stream.distill.dataset import Lesson, check_lesson, prompt_ids
from mira_stream.distill.decode import decode_scores
from mira_stream.distill.folder import TRAINER_STATE, Making, load_student, publish, recover, write_model
from mira_stream.distill.labels import Label
from mira_stream.distill.recipe import Recipe, base_path
from mira_stream.distill.tokenizer import load_tokenizer, save_tokenizer
from mira_stream.errors import ConfigError
from mira_stream.prompt import Prompt

_SHOWN: Final = ("loss", "eval_loss", "eval_rho", "eval_mae")


class TrainingRun(NamedTuple):
    """What a training is made of. `root`: the project; `base_model`: empty from scratch. `head`: what a head begins
    with, else a student that replies is trained; `known`: the view by whose outputs a head is known when served."""

    root: Path
    folder: Path
    curve: Path
    group: str
    teacher: str
    rubric: str
    lesson: Lesson
    labels: Sequence[Label]
    recipe: Recipe
    threads: int = 2
    compiled: bool = True
    head: heads.Start | None = None
    known: str = ""

    @property
    def base_model(self) -> str:
        return "" if self.head else base_path(self.root, self.recipe)

    @property
    def begins(self) -> Path:
        """The folder whose tokenizer is used: a head has that of its student."""
        return self.head.student if self.head else self.folder

    @property
    def origin(self) -> dict[str, str]:
        """Digests of what, if changed, makes it another training."""
        lesson = self.lesson
        tokenizer = self.begins / "tokenizer.json"
        recipe = msgspec.to_builtins(self.recipe)
        recipe.pop("base" if self.head else "head")  # no part of this training
        found = {
            "recipe": digest(recipe),
            "labels": digest([msgspec.to_builtins(label) for label in self.labels]),
            "rubric": self.rubric,
            "prompt": digest([*lesson.prompt, *lesson.names]),
            "layout": f"{lesson.layout} {lesson.mode} {lesson.context_tokens}",
        }
        if not self.recipe.base.model and tokenizer.is_file():
            found["tokenizer"] = digest(tokenizer.read_text(encoding="utf-8"))
        if self.head:
            found |= {"student": self.head.sha256, "reliability": digest(self.head.cells)}
        return found


def run_training(run: TrainingRun, say: Say) -> dict[str, Any]:
    """Train and publish; a summary. Raises ConfigError as its parts do, KeyboardInterrupt when told to stop."""
    torch.set_num_threads(run.threads)
    check_lesson(run.lesson, run.labels)
    _check_processes(run)
    with Stop() as stop:
        with PartialState(cpu=not run.base_model).main_process_first():
            recover(run.folder)
            resumed = open_training(run.folder, run.origin)
        _say_resumed(run.group, resumed, say)
        callbacks = [Progress(run.group, say), StopCallback(stop)]
        tokenizer: Any
        if run.base_model:
            from mira_stream.distill import base  # trl takes seconds to load

            prepared: Any = base.prepare(
                run.base_model, resumed.folder, run.labels, run.lesson, run.recipe, callbacks, say
            )
            tokenizer = prepared.trainer.processing_class
        elif run.head:
            tokenizer = student_tokenizer(run.begins)
            prepared = heads.prepare(
                resumed.folder, run.labels, run.lesson, run.head, tokenizer, run.recipe, callbacks, say, run.compiled,
                resumed=resumed.checkpoint is not None,
            )  # fmt: skip
        else:
            tokenizer = student_tokenizer(run.folder)
            prepared = scratch.prepare(
                resumed.folder, run.labels, run.lesson, tokenizer, run.recipe, callbacks, say, run.compiled
            )
        trainer = prepared.trainer
        trainer.train(resume_from_checkpoint=None if resumed.checkpoint is None else str(resumed.checkpoint))
        if stop.wished and trainer.state.global_step < trainer.state.max_steps:
            say(f"{run.group}: stopped at step {trainer.state.global_step}; the same command goes on from there")
            raise KeyboardInterrupt
    return _finish(run, trainer, tokenizer, prepared.replies, resumed.folder, say)


def student_scores(
    folder: Path, prompt: Prompt, labels: Sequence[Label], threads: int, *, expected: bool = False
) -> list[list[float]]:
    """The fifteen scores of a student from scratch for each labelled view, decoded greedily; the `expected` ones for
    the mode of that name. Raises ConfigError without such a student."""
    torch.set_num_threads(threads)
    model, tokenizer = load_student(folder)
    prompts = [prompt_ids(tokenizer, prompt, label.view) for label in labels]
    scores: list[list[float]] = decode_scores(model, tokenizer, prompts, expected=expected).tolist()
    return scores


def head_scores(folder: Path, prompt: Prompt, labels: Sequence[Label], threads: int) -> list[list[float]]:
    """The raw outputs of a head for each labelled view. Raises ConfigError without a head."""
    torch.set_num_threads(threads)
    model, tokenizer = heads.load_head(folder), student_tokenizer(folder)
    prompts = [prompt_ids(tokenizer, prompt, label.view) for label in labels]
    outputs: list[list[float]] = heads.head_outputs(model, prompts, Recipe()).tolist()
    return outputs


def student_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """That of a student from scratch. Raises ConfigError(tokenizer_missing)."""
    try:
        return load_tokenizer(folder)
    except (OSError, ValueError) as error:
        raise ConfigError("tokenizer_missing", f"{folder}: {error}", "label first: it makes the tokenizer") from None


def _finish(
    run: TrainingRun, trainer: Any, tokenizer: Any, replies: int, checkpoints: Path, say: Say
) -> dict[str, Any]:
    state: TrainerState = trainer.state
    log = list(state.log_history)
    seconds = max((entry.get("seconds", 0.0) for entry in log), default=0.0)
    making = Making(
        run.teacher, run.group, run.rubric, replies, round(seconds),
        run.base_model and run.recipe.base.model, run.lesson.layout, run.lesson.mode, run.lesson.prompt.files_sha256,
        _known(run, trainer.model, tokenizer),
    )  # fmt: skip
    # The whole model on the first process, gathered from all of them if it is sharded.
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    best = state.best_global_step or state.global_step
    summary = {
        "group": run.group, "student": str(run.folder), "step": state.global_step, "steps": state.max_steps,
        "best_step": best, "replies": replies, "seconds": seconds, "curve": str(run.curve), **_last(log, best),
    }  # fmt: skip
    if state.is_world_process_zero:
        state.trial_params = msgspec.to_builtins(run.recipe)

        def write(folder: Path) -> None:
            write_model(folder, trainer.accelerator.unwrap_model(trainer.model), weights, making)
            if run.base_model:
                tokenizer.save_pretrained(str(folder))
            else:
                save_tokenizer(tokenizer, folder)
            state.best_model_checkpoint = None  # it is this folder now
            state.save_to_json(str(folder / TRAINER_STATE))

        publish(run.folder, write)
        draw(run.curve, run.group, log, state.best_global_step, "points" if run.head else "nats")
        shutil.rmtree(checkpoints)
        say(f"{run.group}: the student of step {best} is in {run.folder}; its learning curve is {run.curve}")
    return summary


def _known(run: TrainingRun, model: Any, tokenizer: Any) -> dict[str, Any] | None:
    """What a head gives for the known view, as it will be served."""
    if run.head is None:
        return None
    prompt = prompt_ids(tokenizer, run.lesson.prompt, run.known)
    outputs = heads.head_outputs(heads.as_served(model), [prompt], run.recipe)[0]
    return {"prompt_tokens": len(prompt), "outputs": [round(float(value), 4) for value in outputs]}


def _last(log: Sequence[dict[str, float]], best: int) -> dict[str, float]:
    """Losses and measures at the student's own step."""
    found: dict[str, float] = {}
    for entry in log:
        if entry["step"] <= best:
            found |= {name: entry[name] for name in _SHOWN if name in entry}
    return found


def _check_processes(run: TrainingRun) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not run.base_model:
        raise ConfigError(
            "processes_many", "a student from scratch is trained by one process", "start it without accelerate"
        )


def _say_resumed(group: str, resumed: Resumed, say: Say) -> None:
    if resumed.changed:
        say(f"{group}: {', '.join(resumed.changed)} changed since the last training: it begins anew")
    if resumed.checkpoint is not None:
        step = orjson.loads((resumed.checkpoint / TRAINER_STATE).read_bytes())["global_step"]
        say(f"{group}: goes on from step {step}")
