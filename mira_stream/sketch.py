"""How a source's qualities are spread: documents and tokens counted on the 1,001 possible qualities.

Deterministic, exact and mergeable in any order, so that a replay finds the same thresholds; all cells are
halved now and then, so that old days fade. Sums run strictly from the best quality down (numpy's `sum` may
group its terms differently on another processor).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mira_stream.messages import DIMENSIONS, Mark, Prior, Unit
from mira_stream.quality import CELLS

HALVING_CARDS: Final = 1_000
"""After so many cards all cells are halved."""
PRIOR_DOCUMENTS: Final = 25
"""A state begins with so many pseudo-documents in the shape of held-out cards."""
NONE_ABOVE: Final = Mark(value=100.0, tie_fraction=0.0)
ALL_ABOVE: Final = Mark(value=0.0, tie_fraction=1.0)
_NAMES: Final = tuple(map(str, range(CELLS)))

Cells = NDArray[np.float64]


class Sketch:
    """Weights by quality, in documents and in tokens; owns its two arrays."""

    __slots__ = ("_documents", "_tokens")

    def __init__(self, documents: Cells | None = None, tokens: Cells | None = None) -> None:
        self._documents = np.zeros(CELLS) if documents is None else documents
        self._tokens = np.zeros(CELLS) if tokens is None else tokens

    def add(self, cell: int, tokens: int) -> None:
        """Count one document of `tokens` tokens and quality `cell` / 10."""
        self._documents[cell] += 1.0
        self._tokens[cell] += tokens

    def merge(self, other: "Sketch") -> None:
        """Add the other sketch's weights."""
        self._documents += other._documents
        self._tokens += other._tokens

    def halve(self) -> None:
        """Let all that was counted so far weigh half."""
        self._documents *= 0.5
        self._tokens *= 0.5

    def scaled(self, factor: float) -> "Sketch":
        """A sketch in which all weighs `factor` times as much."""
        return Sketch(self._documents * factor, self._tokens * factor)

    def weight(self, unit: Unit) -> float:
        """The sum of all cells."""
        return float(np.cumsum(self._of(unit)[::-1])[-1])

    def upper_tail(self, share: float, unit: Unit) -> Mark:
        """The mark that `share` of the weight lies above; the cell on it is split by `tie_fraction` in (0, 1]."""
        if share <= 0.0:
            return NONE_ABOVE
        if share >= 1.0:
            return ALL_ABOVE
        cells = self._of(unit)[::-1]
        above = np.cumsum(cells)
        wanted = share * float(above[-1])
        at = min(int(np.searchsorted(above, wanted, side="left")), CELLS - 1)
        if cells[at] <= 0.0:
            return NONE_ABOVE if wanted <= 0.0 else ALL_ABOVE
        before = float(above[at - 1]) if at else 0.0
        fraction = (wanted - before) / float(cells[at])
        return Mark(value=(CELLS - 1 - at) / 10, tie_fraction=min(1.0, max(0.0, fraction)))

    def cells(self, unit: Unit) -> dict[str, float]:
        """{cell: weight} of the cells that are not empty, for SourceState."""
        of = self._of(unit)
        filled = np.flatnonzero(of)
        return dict(zip(map(_NAMES.__getitem__, filled.tolist()), of[filled].tolist(), strict=True))

    def _of(self, unit: Unit) -> Cells:
        return self._documents if unit == "documents" else self._tokens


def from_cells(documents: Mapping[str, float], tokens: Mapping[str, float]) -> Sketch:
    """The sketch whose `cells` these are."""
    return Sketch(_array(documents), _array(tokens))


def from_prior(prior: Prior | None) -> Sketch:
    """Pseudo-documents in the prior's shape, each of the prior's mean number of tokens (1 if that is unknown)."""
    if prior is None or not prior.cells:
        return Sketch()
    shape = _array(prior.cells)
    documents = shape * (PRIOR_DOCUMENTS / float(np.cumsum(shape)[-1]))
    mean_tokens = prior.tokens / prior.documents if prior.tokens and prior.documents else 1.0
    return Sketch(documents, documents * mean_tokens)


def from_priors(priors: Sequence[Prior]) -> Sketch:
    """As many pseudo-documents as `from_prior`, in equal parts in the shape of each prior."""
    merged = Sketch()
    for prior in priors:
        merged.merge(from_prior(prior))
    return merged.scaled(1 / len(priors)) if len(priors) > 1 else merged


def no_scores() -> list[list[int]]:
    """Counters of fifteen dimensions by score 0..10."""
    return [[0] * 11 for _ in range(DIMENSIONS)]


def count_scores(counts: list[list[int]], scores: list[float | None]) -> None:
    """Count each score that was read at its nearest whole number (half to even)."""
    for row, score in zip(counts, scores, strict=True):
        if score is not None:
            row[round(score)] += 1


def _array(cells: Mapping[str, float]) -> Cells:
    array = np.zeros(CELLS)
    array[list(map(int, cells))] = list(cells.values())
    return array
