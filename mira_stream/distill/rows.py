"""Training on packed rows: transformers' Trainer on one process of a CPU, whatever the loss at the rows' places is.

The Trainer brings steps, checkpoints, early stopping and the log. Packed rows, the forward pass and the optimizer are
ours: they make ten minutes of two cores enough.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any, Final, NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl
from transformers import TrainingArguments as Arguments

from mira_stream.distill.arguments import arguments, early_stopping
from mira_stream.distill.batches import Planned, TrainingBatch, collate, schedule
from mira_stream.distill.callbacks import Say
from mira_stream.distill.examples import Example, Ids
from mira_stream.distill.optimizer import new_optimizer, new_scheduler
from mira_stream.distill.recipe import Recipe
from mira_stream.distill.student import Batch, computed_in, hidden_states

Forward = Callable[[Any, Batch, torch.dtype], Tensor]
COMPILERS: Final = ("c++", "g++", "clang++")


class Objective(Protocol):
    """What is to become small."""

    def __call__(self, model: Any, states: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The loss at the places whose hidden states [N, hidden] and targets [N] these are, and its parts for the
        log, by name."""
        ...


class Measures(Protocol):
    """What a training is watched by."""

    def measure(self, model: Any) -> dict[str, float]:
        """eval_loss (that of training), eval_rho, eval_mae."""
        ...


class Rows(NamedTuple):
    """Examples behind the prefix that all share."""

    prefix: Ids
    examples: Sequence[Example]


class RowTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose step is one planned batch of packed rows."""

    def __init__(
        self, *, watched: Measures | None, objective: Objective, dtype: torch.dtype, compiled: bool, **keywords: Any
    ) -> None:
        super().__init__(**keywords)
        self.watched = watched
        self.objective = objective
        self.dtype = dtype
        self.forward: Forward = torch.compile(hidden_states, dynamic=False) if compiled else hidden_states
        self.sums: Counter[str] = Counter()
        self.tokens = 0
        self.steps_since = 0
        self.since = time.monotonic()

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: object, **__: object) -> Tensor:
        piece = _piece(inputs)
        states = self.forward(model, piece.batch, self.dtype).flatten(0, 1)[piece.places]
        total, parts = self.objective(model, states, piece.targets)
        self.steps_since += 1
        self.tokens += piece.tokens
        self.sums.update(parts)
        return total

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Six a weight and token (Kaplan et al. 2020), the prefix included."""
        batch = _piece(inputs).batch
        return int(6 * self.model.num_parameters() * (len(batch.prefix) + batch.ids.numel()))

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """What the student is worth on held-out labels, of all of them at once."""
        begun = time.monotonic()
        measured = {} if self.watched is None else self.watched.measure(self.model)
        self.log(measured)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, measured)
        self.since += time.monotonic() - begun  # measuring is not training
        return measured

    def log(self, logs: dict[str, float], *rest: Any) -> None:
        if "loss" in logs:
            passed = time.monotonic() - self.since
            logs |= {name: value / self.steps_since for name, value in self.sums.items()}
            logs["tokens_per_s"] = self.tokens / passed
            self._start_counting()
        super().log(logs, *rest)

    def train(self, *rest: Any, **keywords: Any) -> Any:
        self._start_counting()
        return super().train(*rest, **keywords)

    def _start_counting(self) -> None:
        self.sums.clear()
        self.tokens = self.steps_since = 0
        self.since = time.monotonic()


def row_trainer(
    model: Any,
    folder: Path,
    rows: Rows,
    recipe: Recipe,
    objective: Objective,
    watched: Measures | None,
    callbacks: Sequence[TrainerCallback],
    say: Say,
    compiled: bool,
) -> RowTrainer:
    """A trainer of all passes over the rows, in the order that the recipe's seed draws. `folder`: of checkpoints."""
    plan = schedule(rows.examples, recipe)
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
        data_collator=partial(_collate, rows),
        train_dataset=plan,
        eval_dataset=None if watched is None else rows.examples,  # not read: `evaluate` asks `watched`
        optimizers=(optimizer, new_scheduler(optimizer, len(plan), recipe)),
        callbacks=[*callbacks, *early_stopping(recipe, watched is not None)],
        watched=watched,
        objective=objective,
        dtype=computed_in(recipe.scratch),
        compiled=compiled and _can_compile(say),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _collate(rows: Rows, planned: Sequence[Planned]) -> dict[str, Any]:
    """A batch as the Trainer can hand it on: tensors by name."""
    (one,) = planned
    piece = collate([rows.examples[index] for index in one.indices], rows.prefix, one.length)
    return {**piece.batch._asdict(), "places": piece.places, "targets": piece.targets, "tokens": piece.tokens}


def _piece(inputs: dict[str, Any]) -> TrainingBatch:
    batch = Batch(*(inputs[name] for name in Batch._fields))
    return TrainingBatch(batch, inputs["places"], inputs["targets"], inputs["tokens"])


def _can_compile(say: Say) -> bool:
    if any(map(which, COMPILERS)):
        say("the first steps are compiled, which can take minutes (--plain: without, at half the speed)")
        return True
    say(f"no C++ compiler ({', '.join(COMPILERS)}): training goes on uncompiled, at about half the speed")
    return False
