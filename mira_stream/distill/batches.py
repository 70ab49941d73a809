"""The order of a training from scratch: which examples are in which batch, and batches as tensors."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mira_stream.distill.examples import IGNORED, Example, Ids, lay_out, visibility
from mira_stream.distill.recipe import Recipe
from mira_stream.distill.student import Batch


class Planned(NamedTuple):
    """One batch: the length of its rows, and which examples they are."""

    length: int
    indices: list[int]


class TrainingBatch(NamedTuple):
    batch: Batch
    places: Tensor
    """Flat positions [N] in [B * S] whose next token is a reply's."""
    targets: Tensor
    tokens: int


def schedule(examples: Sequence[Example], recipe: Recipe) -> list[Planned]:
    """All batches of all passes: shuffled, examples of like length together.

    The last batch of a length is left out if it is not full (each shape is compiled), unless it is the only one.
    """
    chance = np.random.default_rng(recipe.training.seed)
    order = np.concatenate([chance.permutation(len(examples)) for _ in range(recipe.training.passes)])
    batches: list[Planned] = []
    waiting: dict[int, list[int]] = {}
    for index in order.tolist():
        length = row_length(examples[index], recipe)
        waiting.setdefault(length, []).append(index)
        if len(waiting[length]) == max(1, recipe.scratch.batch_tokens // length):
            batches.append(Planned(length, waiting.pop(length)))
    filled = {batch.length for batch in batches}
    return batches + [Planned(length, indices) for length, indices in waiting.items() if length not in filled]


def in_order(examples: Sequence[Example], recipe: Recipe) -> list[Planned]:
    """Batches that hold every example once, the last of a length as it comes (for measuring)."""
    lengths: dict[int, list[int]] = {}
    for index, example in enumerate(examples):
        lengths.setdefault(row_length(example, recipe), []).append(index)
    batches = []
    for length, indices in sorted(lengths.items()):
        room = max(1, recipe.scratch.batch_tokens // length)
        batches += [Planned(length, indices[start : start + room]) for start in range(0, len(indices), room)]
    return batches


def row_length(example: Example, recipe: Recipe) -> int:
    """Tokens of the example's row, padded."""
    return math.ceil(example.tokens / recipe.scratch.row_step) * recipe.scratch.row_step


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
