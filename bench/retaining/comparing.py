"""What was decided beside the exact offline selection, and beside an oracle with a window."""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.retaining.deciding import Outcome, prior_cells
from bench.retaining.streams import Kind, Stream
from mira_stream.chance import u
from mira_stream.epochs import is_above
from mira_stream.messages import Mark, Unit
from mira_stream.sketch import HALVING_CARDS, Sketch

FLAT_WINDOW: Final = 1_500


def offline(outcome: Outcome, unit: Unit, target: float) -> NDArray[np.bool_]:
    """The exact selection of the whole stream: best qualities first, ties by hash, until the share is reached."""
    ties = np.array([u("tie", document) for document in outcome.ids])
    order = np.lexsort((ties, -outcome.cells))
    weights = outcome.weights(unit)[order]
    selected = np.zeros(len(order), dtype=bool)
    selected[order] = np.cumsum(weights) - weights / 2 < target * weights.sum()
    return selected


def windowed(outcome: Outcome, prior: Stream, flat: bool) -> NDArray[np.bool_]:
    """What the exact quantile of the window before each card selects."""
    sketch = Sketch(*(prior_cells(prior) for _ in range(2)))
    window: deque[int] = deque()
    selected = np.zeros(len(outcome.tokens), dtype=bool)
    counts = np.zeros_like(prior_cells(prior))
    for at, (document, cell) in enumerate(zip(outcome.ids, outcome.cells.tolist(), strict=True)):
        mark: Mark = (Sketch(counts) if flat and at >= 25 else sketch).upper_tail(outcome.target, "documents")
        selected[at] = is_above(mark, cell / 10, document)
        sketch.add(cell, 1)
        window.append(cell)
        counts[cell] += 1
        if len(window) > FLAT_WINDOW:
            counts[window.popleft()] -= 1
        if (at + 1) % HALVING_CARDS == 0:
            sketch.halve()
    return selected


def agreement(kind: Kind, outcome: Outcome, prior: Stream) -> float:
    """Share of the documents on which stream and oracle agree."""
    if kind.oracle == "windowed":
        return float((windowed(outcome, prior, flat=False) == outcome.selected).mean())
    if kind.band > 0:
        upper, lower = (offline(outcome, kind.unit, outcome.target + sign * kind.band / 2) for sign in (-1, 1))
        return float((upper.astype(int) + lower == outcome.classes).mean())
    return float((offline(outcome, kind.unit, outcome.target) == outcome.selected).mean())
