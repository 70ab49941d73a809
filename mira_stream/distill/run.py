"""A whole training: labels in, a student's folder out; and the student's scores for labelled views."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import which
from typing import Final, NamedTuple

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from mira_stream.distill.dataset import prompt_ids, training_set
from mira_stream.distill.decode import decode_scores
from mira_stream.distill.examples import Ids
from mira_stream.distill.folder import Making, load_student, log_entry, save_student
from mira_stream.distill.labels import Label
from mira_stream.distill.recipe import Recipe
from mira_stream.distill.student import new_student
from mira_stream.distill.tokenizer import load_tokenizer, vocabulary
from mira_stream.distill.train import Progress, train
from mira_stream.errors import ConfigError
from mira_stream.prompt import Prompt

Say = Callable[[str], None]
COMPILERS: Final = ("c++", "g++", "clang++")


class TrainingRun(NamedTuple):
    """What a training is made of. `sample`: held-out labels it is watched by, every `measure_every` steps."""

    folder: Path
    group: str
    teacher: str
    rubric: str
    prompt: Prompt
    labels: Sequence[Label]
    recipe: Recipe
    passes: int = 1
    threads: int = 2
    compiled: bool = True
    measure_every: int = 200
    sample: int = 128


class Watched(NamedTuple):
    """Held-out prompts and the teacher's scores [n, 15]."""

    prompts: list[Ids]
    scores: NDArray[np.float64]

    def measure(self, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> dict[str, float]:
        """Mean correlation over the dimensions that vary, and MAE."""
        model.eval()
        given = decode_scores(model, tokenizer, self.prompts)
        model.train()
        with np.errstate(invalid="ignore", divide="ignore"):
            both = zip(self.scores.T, given.T, strict=True)
            correlations = [np.corrcoef(wanted, scores)[0, 1] for wanted, scores in both]
        return {
            "heldout_correlation": round(float(np.mean(np.nan_to_num(correlations))), 4),
            "heldout_mae": round(float(np.abs(given - self.scores).mean()), 4),
        }


def run_training(run: TrainingRun, say: Say) -> dict[str, float | str]:
    """Train and save. Raises ConfigError without training labels or tokenizer."""
    torch.set_num_threads(run.threads)
    tokenizer = _tokenizer(run.folder)
    names = vocabulary(tokenizer)
    recipe = structs.replace(run.recipe, epochs=run.passes)
    made = training_set(run.labels, run.prompt, tokenizer)
    heldout = [label for label in run.labels if label.split == "heldout"][:: max(1, _heldout(run) // run.sample)]
    watched = Watched(
        [prompt_ids(tokenizer, run.prompt, label.view) for label in heldout],
        np.array([label.scores for label in heldout]),
    )
    model = new_student(recipe, names)
    say(
        f"{run.group}: {model.num_parameters() / 1e6:.1f} M parameters, {made.replies} replies on"
        f" {len(made.examples)} windows, {len(made.prefix)} tokens of prompt before them"
    )
    compiled = run.compiled and any(map(which, COMPILERS))
    if run.compiled and not compiled:
        say(f"no C++ compiler ({', '.join(COMPILERS)}): training goes on uncompiled, at about half the speed")
    log: list[dict[str, float]] = []
    started = time.monotonic()
    for progress in train(model, made.examples, made.prefix, names, recipe, compiled=compiled):
        last = progress.step == progress.steps
        due = run.measure_every and progress.step % run.measure_every == 0
        measured = watched.measure(model, tokenizer) if watched.prompts and (due or last) else {}
        log.append(log_entry(progress, measured))
        say(_line(run.group, progress, measured))
    seconds = time.monotonic() - started
    making = Making(run.teacher, run.group, run.rubric, made.replies, round(seconds))
    save_student(run.folder, model, tokenizer, making, recipe, log)
    return {"group": run.group, "student": str(run.folder), "seconds": round(seconds, 1), **log[-1]}


def student_scores(folder: Path, prompt: Prompt, labels: Sequence[Label], threads: int) -> list[list[float]]:
    """The student's fifteen scores for each labelled view, decoded greedily. Raises ConfigError without a student."""
    torch.set_num_threads(threads)
    model, tokenizer = load_student(folder)
    prompts = [prompt_ids(tokenizer, prompt, label.view) for label in labels]
    scores: list[list[float]] = decode_scores(model, tokenizer, prompts).tolist()
    return scores


def _heldout(run: TrainingRun) -> int:
    return sum(label.split == "heldout" for label in run.labels)


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    try:
        return load_tokenizer(folder)
    except (OSError, ValueError) as error:
        raise ConfigError("tokenizer_missing", f"{folder}: {error}", "label first: it makes the tokenizer") from None


def _line(group: str, progress: Progress, measured: dict[str, float]) -> str:
    line = (
        f"{group} step {progress.step}/{progress.steps}  loss {progress.loss:.3f}  scores {progress.score_loss:.3f}"
        f"  {progress.tokens_per_s:,.0f} tokens/s  {progress.seconds_left:.0f} s left"
    )
    if measured:
        line += f"  held-out r {measured['heldout_correlation']:.3f} MAE {measured['heldout_mae']:.2f}"
    return line
