"""Which documents a cascade's full stage must judge. Pure.

The cheap stage judges every document. Its scores stand unless its quality lies within a half-width w of a threshold in
force: then the full stage judges the document, too, and its scores count. The loss of a document i is

    L_i(w) = 1 if |cheap quality_i - nearest threshold| > w and the cheap decision differs from the full one, else 0

where a decision is keep, downsample or drop under the same thresholds, floors included. So its mean R(w) is the share
of *all* documents that end in another class than they would if the full stage judged everything. L_i falls as w grows
and is at most 1. w is found, for each source and anew for each epoch's thresholds, from n held-out documents that both
stages judged, k(w) of which have L_i(w) = 1:

    on average      w = inf {w: n/(n+1) k(w)/n + 1/(n+1) <= loss}     E[R] <= loss
    in 95 of 100    w = inf {w: b(k(w), n) <= loss}                   P(R(w) <= loss) >= confidence

The first is conformal risk control (Angelopoulos, Bates, Fisch, Lei & Schuster 2022, "Conformal risk control", theorem
1): its bound is on the expectation over held-out sets, and of single sources half may lie beyond it. The second, which
the scorer uses, puts an upper confidence bound b in place of the mean (Bates, Angelopoulos, Lei, Malik & Jordan 2021,
"Distribution-free, risk-controlling prediction sets", theorem 1); for losses of 0 and 1 the exact one is Clopper &
Pearson's (1934). Both hold for documents that are exchangeable with the held-out ones, and for thresholds that do not
depend on these; a source that drifts has left the bound.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import inf
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from mira_stream.chance import u
from mira_stream.epochs import undercut
from mira_stream.errors import DocumentError
from mira_stream.messages import Mark, Sent
from mira_stream.quality import Judged, Lens, judge

CONFIDENCE: Final = 0.95
CELLS_A_POINT: Final = 10
NO_QUALITY: Final = -1
Scores = Sequence[float | None]
Cells = NDArray[np.int64]


class Pair(NamedTuple):
    """A held-out document as each stage judged it, fifteen scores each."""

    id: str
    cheap: Scores
    full: Scores


class InForce(NamedTuple):
    """What a source's documents are decided by, as far as it was published. `half_width` in points of quality."""

    epoch_of: str
    epoch: int
    keep: Mark
    drop: Mark
    through: Lens
    half_width: float


class Routed(NamedTuple):
    """Whether a document is sent on, why, and its cheap quality (None if it has none)."""

    sent: Sent
    quality: float | None

    @property
    def is_sure(self) -> bool:
        return self.sent == "sure"


class Calibration:
    """One source's held-out pairs under a mask and floors. Near-duplicates count once: pass one of each cluster."""

    def __init__(self, pairs: Sequence[Pair], through: Lens, floors: Mapping[str, float]) -> None:
        sides = [pair.cheap for pair in pairs], [pair.full for pair in pairs]
        self._cheap, self._full = (_cells(side, through) for side in sides)
        self._cheap_dropped, self._full_dropped = (
            np.array([undercut(scores, floors) is not None for scores in side], np.bool_) for side in sides
        )
        self._luck = np.array([u("tie", pair.id) for pair in pairs])

    def half_width(self, keep: Mark, drop: Mark, loss: float, confidence: float | None = CONFIDENCE) -> float:
        """w in points; infinite where so few documents cannot promise that loss. `confidence` None: on average."""
        allowed = errors_allowed(len(self._luck), loss, confidence)
        if allowed is None:
            return inf
        cheap = self._classes(self._cheap, self._cheap_dropped, keep, drop)
        full = self._classes(self._full, self._full_dropped, keep, drop)
        # One without a cheap quality is sent on in any case; one without a full one can only be lost.
        wrong = (cheap != full) & (self._cheap != NO_QUALITY)
        distances = np.sort(_cells_from(self._cheap[wrong], keep, drop))[::-1]
        return float(distances[allowed]) / CELLS_A_POINT if allowed < len(distances) else 0.0

    def _classes(self, cells: Cells, dropped: NDArray[np.bool_], keep: Mark, drop: Mark) -> Cells:
        """2 keep, 1 downsample, 0 drop, as `epochs.decide` has it; below 0 where there is no quality."""
        above = sum((self._above(cells, mark).astype(np.int64) for mark in (keep, drop)), np.zeros_like(cells))
        return np.where(cells == NO_QUALITY, NO_QUALITY, np.where(dropped, 0, above))

    def _above(self, cells: Cells, mark: Mark) -> NDArray[np.bool_]:
        at = _cell(mark)
        found: NDArray[np.bool_] = (cells > at) | ((cells == at) & (self._luck < mark.tie_fraction))
        return found


@lru_cache(maxsize=4096)
def errors_allowed(n: int, loss: float, confidence: float | None = CONFIDENCE) -> int | None:
    """The most k of n that still promise a loss of at most `loss`; None if not even k = 0 does."""
    if confidence is None:
        most = int(loss * (n + 1) + 1e-9) - 1
        return min(n, most) if most >= 0 else None
    if loss >= 1:
        return n
    fitting = (k for k in range(n) if betaincinv(k + 1, n - k, confidence) > loss)  # the bound rises with k
    return (next(fitting, n) - 1) if n and betaincinv(1, n, confidence) <= loss else None


def route(scores: Scores, in_force: InForce | None) -> Routed:
    """Whether the cheap scores stand. What is not known for certain is sent on."""
    if in_force is None:
        return Routed("no_threshold", None)
    judged = _judged(scores, in_force.through)
    if judged is None:
        return Routed("unread", None)
    if in_force.half_width == inf:
        return Routed("uncalibrated", judged.quality)
    cells = min(abs(judged.cell - _cell(mark)) for mark in (in_force.keep, in_force.drop))
    return Routed("near" if cells <= round(in_force.half_width * CELLS_A_POINT) else "sure", judged.quality)


def _judged(scores: Scores, through: Lens) -> Judged | None:
    try:
        return judge(scores, through)
    except DocumentError:
        return None


def _cells(rows: Sequence[Scores], through: Lens) -> Cells:
    judged = [_judged(scores, through) for scores in rows]
    return np.array([NO_QUALITY if one is None else one.cell for one in judged], np.int64)


def _cell(mark: Mark) -> int:
    return round(mark.value * CELLS_A_POINT)


def _cells_from(cells: Cells, keep: Mark, drop: Mark) -> Cells:
    nearest: Cells = np.minimum(np.abs(cells - _cell(keep)), np.abs(cells - _cell(drop)))
    return nearest
