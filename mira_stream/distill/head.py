"""A regression head on a trained student: `Qwen3ForSequenceClassification` with sixteen outputs, all weights trained.

It begins with the student's weights and, for the head, with the ridge regression of the labels on the student's hidden
states: so the first step starts from points and not from noise. Rows are trained as replies are (rows.py).
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3ForSequenceClassification, TrainerCallback

from mira_stream.distill.batches import collate, in_order
from mira_stream.distill.callbacks import Say
from mira_stream.distill.dataset import Lesson
from mira_stream.distill.examples import Example, Ids
from mira_stream.distill.labels import Label
from mira_stream.distill.recipe import Recipe
from mira_stream.distill.regression import (
    OUTPUTS,
    CellWeights,
    RegressionObjective,
    RegressionSet,
    outputs,
    packed,
    regression_set,
    weighted_huber,
)
from mira_stream.distill.rows import Rows, row_trainer
from mira_stream.distill.scratch import Prepared, sample_of
from mira_stream.distill.student import computed_in, hidden_states
from mira_stream.distill.watched import mean_rho
from mira_stream.errors import ConfigError
from mira_stream.messages import DIMENSIONS, SLOTS
from mira_stream.precision import fastest

RIDGE: Final = 1e-3
"""Penalty, as a share of the mean square of a hidden unit."""
RIDGE_WINDOWS: Final = 256
"""Windows of labels that the first head is fitted to."""


class Start(NamedTuple):
    """What a head begins with: the student's folder and its sha256, and what the cells weigh in the loss."""

    student: Path
    sha256: str
    cells: CellWeights


def prepare(
    folder: Path,
    labels: Sequence[Label],
    lesson: Lesson,
    start: Start,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    callbacks: Sequence[TrainerCallback],
    say: Say,
    compiled: bool,
    *,
    resumed: bool,
) -> Prepared:
    """`resumed`: weights come from a checkpoint, so that no first head is fitted. Raises ConfigError without a label to
    train on, or without a student from scratch to begin with."""
    tuned = tuned_recipe(recipe)
    made = regression_set(labels, lesson, tokenizer, "distill", start.cells)
    model = new_head(start.student)
    say(
        f"a head of {OUTPUTS} outputs on {start.student.name}: {model.num_parameters():,} parameters,"
        f" {made.labels} labels on {len(made.examples)} windows, {len(made.prefix)} tokens of prompt before them"
        + (f"; {made.too_long} labels are longer than the context and left out" if made.too_long else "")
    )
    if not resumed:
        fit_first(model, made, tuned)
    sample = sample_of(labels, recipe)
    watched = WatchedHead(regression_set(sample, lesson, tokenizer, "heldout"), tuned) if sample else None
    rows, objective = Rows(made.prefix, made.examples), RegressionObjective(made, recipe.head.huber)
    trainer = row_trainer(model, folder, rows, tuned, objective, watched, callbacks, say, compiled)
    return Prepared(trainer, made.labels)


def tuned_recipe(recipe: Recipe) -> Recipe:
    """The recipe with the head's own passes and rate."""
    return msgspec.structs.replace(
        recipe,
        training=msgspec.structs.replace(recipe.training, passes=recipe.head.passes),
        scratch=msgspec.structs.replace(recipe.scratch, learning_rate=recipe.head.learning_rate),
    )


def new_head(student: Path) -> Qwen3ForSequenceClassification:
    """In float32; the head's own weights are 0. Raises ConfigError(student_invalid | head_base)."""
    names = dict(enumerate((*SLOTS, "overall")))
    try:
        model = Qwen3ForSequenceClassification.from_pretrained(
            str(student),
            dtype=torch.float32,
            local_files_only=True,
            id2label=names,
            label2id={name: number for number, name in names.items()},
            problem_type="regression",  # engines then make no probabilities of the outputs
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            "student_invalid", f"{student}: {error}", "train the student first: mira-stream distill --group G"
        ) from None
    if getattr(model.config, "mira", {}).get("base"):
        raise ConfigError("head_base", f"{student} was made from a base model", "a head is trained on one from scratch")
    torch.nn.init.zeros_(model.score.weight)
    return model


def fit_first(model: Qwen3ForSequenceClassification, made: RegressionSet, recipe: Recipe) -> None:
    """Set the head to the ridge regression of points on hidden states, over an even sample of the windows."""
    some = made.examples[:: -(-len(made.examples) // RIDGE_WINDOWS)]
    states, rows = states_of(model, made.prefix, some, recipe, computed_in(recipe.scratch))
    x, y = states.double(), torch.from_numpy(made.points)[rows].double()
    gram = x.T @ x
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.double)
    with torch.no_grad():
        model.score.weight.copy_(torch.linalg.solve(gram + penalty, x.T @ y).T.float())


def states_of(
    model: Qwen3ForSequenceClassification, prefix: Ids, examples: Sequence[Example], recipe: Recipe, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Hidden states [N, hidden] at the prompts' last tokens, and which target each has."""
    states, rows = [], []
    for length, indices in in_order(examples, recipe):
        piece = collate([examples[index] for index in indices], prefix, length)
        with torch.no_grad():
            states.append(hidden_states(model, piece.batch, dtype).flatten(0, 1)[piece.places].float())
        rows.append(piece.targets)
    return torch.cat(states), torch.cat(rows)


def head_outputs(model: Qwen3ForSequenceClassification, prompts: Sequence[Ids], recipe: Recipe) -> NDArray[np.float64]:
    """[prompts, 16], raw, of a model that was loaded or rounded as it is served."""
    if not prompts:
        return np.zeros((0, OUTPUTS))
    prefix, examples = packed([[(ids, row)] for row, ids in enumerate(prompts)])
    states, rows = states_of(model, prefix, examples, recipe, model.dtype)
    found = np.zeros((len(prompts), OUTPUTS))
    with torch.no_grad():
        found[rows.numpy()] = outputs(model, states).numpy()
    return found


def as_served(model: Qwen3ForSequenceClassification) -> Qwen3ForSequenceClassification:
    """A copy whose weights are rounded to bfloat16, computed in what this CPU is faster at."""
    copied: Qwen3ForSequenceClassification = copy.deepcopy(model).to(torch.bfloat16).to(fastest()).eval()
    return copied


class WatchedHead:
    """Measures: a head on held-out labels."""

    def __init__(self, held: RegressionSet, recipe: Recipe) -> None:
        self._held = held
        self._recipe = recipe

    def measure(self, model: Qwen3ForSequenceClassification) -> dict[str, float]:
        """eval_loss (points), eval_rho (Spearman, mean over dimensions), eval_mae (points)."""
        served = as_served(model)
        states, rows = states_of(served, self._held.prefix, self._held.examples, self._recipe, served.dtype)
        wanted = torch.from_numpy(self._held.points)[rows]
        with torch.no_grad():
            given = outputs(served, states)
            weights = torch.from_numpy(self._held.weights)[rows]
            loss = weighted_huber(given, wanted, weights, self._recipe.head.huber)
        teacher, scores = wanted[:, :DIMENSIONS].double().numpy(), given[:, :DIMENSIONS].clamp(0, 10).double().numpy()
        rho = mean_rho(teacher, scores)
        measured = {"eval_loss": round(float(loss), 6), "eval_mae": round(float(np.abs(scores - teacher).mean()), 4)}
        return measured if rho is None else {**measured, "eval_rho": round(rho, 4)}


def load_head(folder: Path) -> Qwen3ForSequenceClassification:
    """As it is served. Raises ConfigError if the folder holds none."""
    try:
        model: Any = Qwen3ForSequenceClassification.from_pretrained(
            str(folder), dtype=torch.bfloat16, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            "student_invalid", f"{folder}: {error}", "train it: mira-stream distill --head --group G"
        ) from None
    loaded: Qwen3ForSequenceClassification = model.to(fastest()).eval()
    return loaded
