"""Supervised fine-tuning of a student from random weights: a plain loop, made for two CPU cores.

Weights are bfloat16, with float32 copies in the optimizer (autocast is six times slower on a CPU).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW, Muon
from transformers import Qwen3ForCausalLM

from mira_stream.distill.examples import IGNORED, Example, Ids, lay_out, visibility
from mira_stream.distill.recipe import Recipe
from mira_stream.distill.student import Batch, hidden_states, logits
from mira_stream.distill.targets import reply_loss, score_targets
from mira_stream.distill.tokenizer import Vocabulary

Forward = Callable[[Qwen3ForCausalLM, Batch], Tensor]


class Progress(NamedTuple):
    """State of a running training; losses are means since the last report."""

    step: int
    steps: int
    documents: int
    loss: float
    score_loss: float
    word_loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_s: float
    seconds: float

    @property
    def seconds_left(self) -> float:
        return self.seconds / max(1, self.step) * (self.steps - self.step)


class TrainingBatch(NamedTuple):
    batch: Batch
    places: Tensor
    """Flat positions [N] in [B * S] whose next token is a reply's."""
    targets: Tensor
    tokens: int


class MasterOptimizer:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms, on float32 copies of the weights.

    Muon (momentum made orthogonal) with the update's size matched to AdamW's: on this task 120 of its steps reach
    a rho of 0.83 where AdamW at the same rate had 0.22 and at its own best rate 0.59 after twice as many.
    """

    def __init__(self, model: Qwen3ForCausalLM, recipe: Recipe) -> None:
        named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        self.weights = [weight for _, weight in named]
        self.masters = [weight.detach().float().clone() for weight in self.weights]
        inner = [weight.ndim == 2 and "embed" not in name for name, weight in named]
        matrices = [master for master, chosen in zip(self.masters, inner, strict=True) if chosen]
        others = [master for master, chosen in zip(self.masters, inner, strict=True) if not chosen]
        rate = recipe.learning_rate
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(matrices, lr=rate, weight_decay=recipe.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            AdamW(others, lr=rate, betas=(0.9, recipe.beta2), weight_decay=0.0, fused=True),
        )
        self.clip = recipe.clip

    def step(self, learning_rate: float) -> float:
        """One update; returns the norm of the gradient before clipping."""
        for weight, master in zip(self.weights, self.masters, strict=True):
            master.grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None
        norm = torch.nn.utils.clip_grad_norm_(self.masters, self.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
        with torch.no_grad():
            for weight, master in zip(self.weights, self.masters, strict=True):
                weight.copy_(master)
        return float(norm)


def learning_rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    warmup = max(1, round(steps * recipe.warmup_share))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return recipe.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def schedule(examples: Sequence[Example], recipe: Recipe) -> list[tuple[int, list[int]]]:
    """(row length, indices of the examples) of every batch: shuffled, examples of like length together.

    The last batch of a length is left out if it is not full (each shape is compiled), unless it is the only one.
    """
    chance = np.random.default_rng(recipe.seed)
    order = np.concatenate([chance.permutation(len(examples)) for _ in range(recipe.epochs)])
    batches: list[tuple[int, list[int]]] = []
    waiting: dict[int, list[int]] = {}
    for index in order.tolist():
        length = math.ceil(examples[index].tokens / recipe.row_step) * recipe.row_step
        room = max(1, recipe.batch_tokens // length)
        waiting.setdefault(length, []).append(index)
        if len(waiting[length]) == room:
            batches.append((length, waiting.pop(length)))
    filled = {length for length, _ in batches}
    return batches + [(length, indices) for length, indices in waiting.items() if length not in filled]


def collate(examples: Sequence[Example], prefix: Ids, length: int) -> TrainingBatch:
    rows = [lay_out(example, len(prefix), length) for example in examples]
    targets = torch.from_numpy(np.stack([row.targets for row in rows])).flatten()
    places = (targets != IGNORED).nonzero()[:, 0]
    batch = Batch(
        torch.tensor(prefix, dtype=torch.long),
        torch.from_numpy(np.stack([row.ids for row in rows])),
        torch.from_numpy(np.stack([row.positions for row in rows])),
        torch.from_numpy(np.stack([visibility(row) for row in rows])),
    )
    return TrainingBatch(batch, places, targets[places], sum(example.tokens for example in examples))


def train(
    model: Qwen3ForCausalLM,
    examples: Sequence[Example],
    prefix: Ids,
    names: Vocabulary,
    recipe: Recipe,
    *,
    compiled: bool = False,
    report_every: int = 20,
) -> Iterator[Progress]:
    """Train `model` in place, yielding progress. The caller may measure the model between two yields."""
    model.to(torch.bfloat16)
    model.train()
    forward: Forward = torch.compile(hidden_states, dynamic=False) if compiled else hidden_states
    optimizer = MasterOptimizer(model, recipe)
    score_ids, smoothed = torch.tensor(names.scores), score_targets(recipe.score_spread)
    plan = schedule(examples, recipe)
    started, documents, sums, tokens, since = time.monotonic(), 0, np.zeros(3), 0, time.monotonic()
    for step, (length, indices) in enumerate(plan):
        piece = collate([examples[index] for index in indices], prefix, length)
        states = forward(model, piece.batch).flatten(0, 1)[piece.places]
        losses = reply_loss(logits(model, states), piece.targets, score_ids, smoothed, recipe)
        losses.total.backward()
        rate = learning_rate_at(step, len(plan), recipe)
        norm = optimizer.step(rate)
        documents += len(indices)
        tokens += piece.tokens
        sums += [losses.total.item(), losses.scores.item(), losses.words.item()]
        if (step + 1) % report_every == 0 or step + 1 == len(plan):
            now = time.monotonic()
            mean = sums / ((step % report_every) + 1)
            yield Progress(
                step + 1,
                len(plan),
                documents,
                float(mean[0]),
                float(mean[1]),
                float(mean[2]),
                rate,
                norm,
                tokens / (now - since),
                now - started,
            )
            sums, tokens, since = np.zeros(3), 0, time.monotonic()
