"""What a head is taught: prompts as the engine makes them, and sixteen numbers at each prompt's last token.

A head's outputs are points: the teacher's fifteen scores in slot order, and its overall in tenths. In the loss a cell
weighs 1, less where the student that the head begins with is not reliable for that source (its table), and nothing
where the label has no number.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from mira_stream.distill.dataset import Lesson, no_labels, prompt_ids
from mira_stream.distill.examples import Example, Ids, pack, shared_prefix
from mira_stream.distill.labels import Label, Split
from mira_stream.messages import DIMENSIONS, SLOTS

OUTPUTS: Final = DIMENSIONS + 1
CellWeights = Mapping[str, Mapping[str, float]]
"""By source and slot; what is not named weighs 1."""


class RegressionSet(NamedTuple):
    """`examples`: each prompt's last token has as target the row of `points` and `weights` [labels, 16] that is its
    label's. `labels`: how many there are; `too_long`: left out, for they do not fit the context."""

    prefix: Ids
    examples: list[Example]
    points: NDArray[np.float32]
    weights: NDArray[np.float32]
    too_long: int

    @property
    def labels(self) -> int:
        return len(self.points)


def regression_set(
    labels: Sequence[Label],
    lesson: Lesson,
    tokenizer: PreTrainedTokenizerFast,
    split: Split = "distill",
    cells: CellWeights | None = None,
) -> RegressionSet:
    """Labels of a share, those of one window of a document in one example. Raises ConfigError if it has none that
    fits the context."""
    windows: dict[tuple[str, str, int], list[tuple[Ids, int]]] = {}
    taken: list[Label] = []
    too_long = 0
    for label in labels:
        if label.split != split:
            continue
        asked = prompt_ids(tokenizer, lesson.prompt, label.view)
        if len(asked) > lesson.context_tokens:
            too_long += 1
            continue
        windows.setdefault((label.source, label.id, label.window), []).append((asked, len(taken)))
        taken.append(label)
    if not windows:
        raise no_labels(split, too_long)
    prefix, examples = packed(list(windows.values()))
    points = np.array([[*label.scores, label.overall / 10] for label in taken], np.float32)
    weights = np.array([_weights(label.source, cells or {}) for label in taken], np.float32)
    weights[np.isnan(points)] = 0
    return RegressionSet(prefix, examples, np.nan_to_num(points), weights, too_long)


def packed(windows: Sequence[Sequence[tuple[Ids, int]]]) -> tuple[Ids, list[Example]]:
    """The tokens that all prompts begin with, and an example a window of (prompt, target at its last token)."""
    shared = shared_prefix([ids for window in windows for ids, _ in window])
    examples = [pack([ids for ids, _ in window], [[row] for _, row in window], shared) for window in windows]
    return windows[0][0][0][:shared], examples


class RegressionObjective:
    """An Objective: the mean Huber loss (Huber 1964) of the cells, by their weights, in points."""

    def __init__(self, made: RegressionSet, huber: float) -> None:
        self._points = torch.from_numpy(made.points)
        self._weights = torch.from_numpy(made.weights)
        self._huber = huber

    def __call__(self, model: Any, states: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        return weighted_huber(outputs(model, states), self._points[targets], self._weights[targets], self._huber), {}


def outputs(model: Any, states: Tensor) -> Tensor:
    """[N, 16] of last hidden states [N, hidden], in float32 as the engine makes them."""
    return functional.linear(states.float(), model.score.weight.float())


def weighted_huber(given: Tensor, wanted: Tensor, weights: Tensor, delta: float) -> Tensor:
    """Mean over the cells of [N, 16], by weight; 0 if none weighs anything."""
    losses = functional.huber_loss(given, wanted, reduction="none", delta=delta)
    return (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _weights(source: str, cells: CellWeights) -> list[float]:
    own = cells.get(source, {})
    return [*(own.get(slot, 1.0) for slot in SLOTS), 1.0]
