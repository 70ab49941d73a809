"""A student from random weights, trained by transformers' Trainer on one process of a CPU.

The Trainer brings steps, checkpoints, early stopping and the log. Packed rows, the loss, the forward pass and the
optimizer are ours: they make ten minutes of two cores enough.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    PrinterCallback,
    Qwen3ForCausalLM,
    Trainer,
    TrainerCallback,
    TrainerControl,
)
from transformers import TrainingArguments as Arguments

from mira_stream.distill.arguments import arguments, early_stopping
from mira_stream.distill.batches import Planned, TrainingBatch, collate, schedule
from mira_stream.distill.callbacks import Say
from mira_stream.distill.dataset import Lesson, TrainingSet, prompt_ids, training_set
from mira_stream.distill.labels import Label
from mira_stream.distill.optimizer import new_optimizer, new_scheduler
from mira_stream.distill.recipe import Recipe
from mira_stream.distill.student import Batch, computed_in, hidden_states, logits, new_student
from mira_stream.distill.targets import reply_loss, score_targets
from mira_stream.distill.tokenizer import vocabulary
from mira_stream.distill.watched import Watched

Forward = Callable[[Qwen3ForCausalLM, Batch, torch.dtype], Tensor]
COMPILERS: Final = ("c++", "g++", "clang++")


class RowTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose step is one planned batch of packed rows."""

    def __init__(
        self, *, watched: Watched | None, names: Sequence[int], recipe: Recipe, compiled: bool, **keywords: Any
    ) -> None:
        super().__init__(**keywords)
        self.watched = watched
        self.recipe = recipe
        self.dtype = computed_in(recipe.scratch)
        self.score_ids = torch.tensor(names)
        self.smoothed = score_targets(recipe.scratch.score_spread)
        self.forward: Forward = torch.compile(hidden_states, dynamic=False) if compiled else hidden_states
        self.sums = np.zeros(3)
        self.steps_since = 0
        self.since = time.monotonic()

    def compute_loss(self, model: Qwen3ForCausalLM, inputs: dict[str, Any], *_: object, **__: object) -> Tensor:
        piece = _piece(inputs)
        states = self.forward(model, piece.batch, self.dtype).flatten(0, 1)[piece.places]
        losses = reply_loss(logits(model, states), piece.targets, self.score_ids, self.smoothed, self.recipe.scratch)
        self.steps_since += 1
        self.sums += [piece.tokens, losses.scores.item(), losses.words.item()]
        return losses.total

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Six a weight and token (Kaplan et al. 2020), the prefix included."""
        batch = _piece(inputs).batch
        return int(6 * self.model.num_parameters() * (len(batch.prefix) + batch.ids.numel()))

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """What the student is worth on held-out labels, of all of them at once: see Watched."""
        begun = time.monotonic()
        measured = {} if self.watched is None else self.watched.measure(self.model)
        self.log(measured)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, measured)
        self.since += time.monotonic() - begun  # measuring is not training
        return measured

    def log(self, logs: dict[str, float], *rest: Any) -> None:
        if "loss" in logs:
            steps = self.steps_since
            tokens, scores, words = self.sums.tolist()
            passed = time.monotonic() - self.since
            logs |= {"score_loss": scores / steps, "word_loss": words / steps, "tokens_per_s": tokens / passed}
            self.sums, self.since, self.steps_since = np.zeros(3), time.monotonic(), 0
        super().log(logs, *rest)

    def train(self, *rest: Any, **keywords: Any) -> Any:
        self.since = time.monotonic()
        self.steps_since = 0
        return super().train(*rest, **keywords)


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
        f"from scratch: {model.num_parameters() / 1e6:.1f} M parameters, {made.replies} replies on"
        f" {len(made.examples)} windows, {len(made.prefix)} tokens of prompt before them,"
        f" computed in {str(computed_in(recipe.scratch)).removeprefix('torch.')}"
        + (f"; {made.too_long} labels are longer than the context and left out" if made.too_long else "")
    )
    compiled = _can_compile(say) if compiled else False
    plan = schedule(made.examples, recipe)
    optimizer = new_optimizer(model, recipe)
    trainer = RowTrainer(
        model=model,
        args=Arguments(
            **arguments(folder, recipe, watched is not None),
            num_train_epochs=1,  # the plan holds all passes
            per_device_train_batch_size=1,  # one planned batch
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            use_cpu=True,
        ),
        data_collator=partial(_collate, made),
        train_dataset=plan,
        eval_dataset=None if watched is None else watched.held.examples,
        optimizers=(optimizer, new_scheduler(optimizer, len(plan), recipe)),
        callbacks=[*callbacks, *early_stopping(recipe, watched is not None)],
        watched=watched,
        names=names.scores,
        recipe=recipe,
        compiled=compiled,
    )
    trainer.remove_callback(PrinterCallback)
    return Prepared(trainer, made.replies)


def _collate(made: TrainingSet, planned: Sequence[Planned]) -> dict[str, Any]:
    """A batch as the Trainer can hand it on: tensors by name."""
    (one,) = planned
    piece = collate([made.examples[index] for index in one.indices], made.prefix, one.length)
    return {**piece.batch._asdict(), "places": piece.places, "targets": piece.targets, "tokens": piece.tokens}


def _piece(inputs: dict[str, Any]) -> TrainingBatch:
    batch = Batch(*(inputs[name] for name in Batch._fields))
    return TrainingBatch(batch, inputs["places"], inputs["targets"], inputs["tokens"])


def _watched(
    labels: Sequence[Label], lesson: Lesson, tokenizer: PreTrainedTokenizerFast, recipe: Recipe
) -> Watched | None:
    """An even sample of the held-out labels; None if there are none."""
    heldout = [label for label in labels if label.split == "heldout"]
    sample = heldout[:: max(1, math.ceil(len(heldout) / recipe.training.heldout_sample))]
    if not sample:
        return None
    prompts = [prompt_ids(tokenizer, lesson.prompt, label.view) for label in sample]
    held = training_set(sample, lesson, tokenizer, "heldout")
    return Watched(held, prompts, np.array([label.scores for label in sample]), tokenizer, recipe)


def _can_compile(say: Say) -> bool:
    if any(map(which, COMPILERS)):
        return True
    say(f"no C++ compiler ({', '.join(COMPILERS)}): training goes on uncompiled, at about half the speed")
    return False
