"""A student from random weights, taught replies: see rows.py for how it is trained."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, TrainerCallback

from mira_stream.distill.callbacks import Say
from mira_stream.distill.dataset import Lesson, prompt_ids, training_set
from mira_stream.distill.labels import Label
from mira_stream.distill.recipe import Recipe
from mira_stream.distill.rows import Rows, row_trainer
from mira_stream.distill.student import computed_in, logits, new_student
from mira_stream.distill.targets import reply_loss, score_targets
from mira_stream.distill.tokenizer import vocabulary
from mira_stream.distill.watched import Watched


class ReplyObjective:
    """An Objective: cross-entropy of the replies' tokens. `names`: the tokens of the ten scores."""

    def __init__(self, names: Sequence[int], recipe: Recipe) -> None:
        self._recipe = recipe.scratch
        self._score_ids = torch.tensor(names)
        self._smoothed = score_targets(recipe.scratch.score_spread)

    def __call__(self, model: Any, states: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        losses = reply_loss(logits(model, states), targets, self._score_ids, self._smoothed, self._recipe)
        return losses.total, {"score_loss": losses.scores.item(), "word_loss": losses.words.item()}


class Prepared(NamedTuple):
    """A trainer that is ready to begin, and how many replies it learns from."""

    trainer: Any
    replies: int


def prepare(
    folder: Path,
    labels: Sequence[Label],
    lesson: Lesson,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    callbacks: Sequence[TrainerCallback],
    say: Say,
    compiled: bool,
) -> Prepared:
    """Raises ConfigError without a label to train on."""
    names = vocabulary(tokenizer)
    made = training_set(labels, lesson, tokenizer)
    watched = _watched(labels, lesson, tokenizer, recipe)
    model = new_student(recipe.scratch, names, recipe.training.seed)
    say(
        f"from scratch: {model.num_parameters():,} parameters, {made.replies} replies on"
        f" {len(made.examples)} windows, {len(made.prefix)} tokens of prompt before them,"
        f" computed in {str(computed_in(recipe.scratch)).removeprefix('torch.')}"
        + (f"; {made.too_long} labels are longer than the context and left out" if made.too_long else "")
    )
    rows, objective = Rows(made.prefix, made.examples), ReplyObjective(names.scores, recipe)
    trainer = row_trainer(model, folder, rows, recipe, objective, watched, callbacks, say, compiled)
    return Prepared(trainer, made.replies)


def sample_of(labels: Sequence[Label], recipe: Recipe) -> list[Label]:
    """An even sample of the held-out labels: what a training is watched by."""
    heldout = [label for label in labels if label.split == "heldout"]
    return heldout[:: max(1, math.ceil(len(heldout) / recipe.training.heldout_sample))]


def _watched(
    labels: Sequence[Label], lesson: Lesson, tokenizer: PreTrainedTokenizerFast, recipe: Recipe
) -> Watched | None:
    """None without held-out labels."""
    sample = sample_of(labels, recipe)
    if not sample:
        return None
    prompts = [prompt_ids(tokenizer, lesson.prompt, label.view) for label in sample]
    held = training_set(sample, lesson, tokenizer, "heldout")
    return Watched(held, prompts, np.array([label.scores for label in sample]), tokenizer, recipe)
