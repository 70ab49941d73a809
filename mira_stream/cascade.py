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

from scipy.stats import beta

from mira_stream.epochs import decide
from mira_stream.errors import DocumentError
from mira_stream.messages import Mark, Sent, Verdict
from mira_stream.quality import Judged, Lens, judge

CONFIDENCE: Final = 0.95
CELLS_A_POINT: Final = 10
Scores = Sequence[float | None]


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


class _Known(NamedTuple):
    """A pair under a mask. `cheap` None: not enough scores were read, so it is sent on in any case."""

    pair: Pair
    cheap: Judged | None
    full: Judged | None


class Calibration:
    """One source's held-out pairs under a mask and floors. Near-duplicates count once: pass one of each cluster."""

    def __init__(self, pairs: Sequence[Pair], through: Lens, floors: Mapping[str, float]) -> None:
        self._floors = floors
        self._known = [_Known(pair, _judged(pair.cheap, through), _judged(pair.full, through)) for pair in pairs]

    def half_width(self, keep: Mark, drop: Mark, loss: float, confidence: float | None = CONFIDENCE) -> float:
        """w in points; infinite where so few documents cannot promise that loss. `confidence` None: on average."""
        allowed = errors_allowed(len(self._known), loss, confidence)
        if allowed is None:
            return inf
        wrong = sorted((self._distance(one, keep, drop) for one in self._known), reverse=True)
        return max(0, wrong[allowed]) / CELLS_A_POINT if allowed < len(wrong) else 0.0

    def _distance(self, known: _Known, keep: Mark, drop: Mark) -> int:
        """Cells from the nearest threshold; below 0 where no half-width would lose anything."""
        if known.cheap is None or self._class(known.pair.cheap, known, known.cheap, keep, drop) == self._class(
            known.pair.full, known, known.full, keep, drop
        ):
            return -1
        return _cells_from(known.cheap.cell, keep, drop)

    def _class(self, scores: Scores, known: _Known, judged: Judged | None, keep: Mark, drop: Mark) -> Verdict | None:
        if judged is None:
            return None
        return decide(known.pair.id, judged.quality, scores, self._floors, keep, drop, 0.0).decision


@lru_cache(maxsize=4096)
def errors_allowed(n: int, loss: float, confidence: float | None = CONFIDENCE) -> int | None:
    """The most k of n that still promise a loss of at most `loss`; None if not even k = 0 does."""
    if confidence is None:
        most = int(loss * (n + 1) + 1e-9) - 1
        return min(n, most) if most >= 0 else None
    if loss >= 1:
        return n
    fitting = (k for k in range(n) if beta.ppf(confidence, k + 1, n - k) > loss)  # the bound rises with k
    return (next(fitting, n) - 1) if n and beta.ppf(confidence, 1, n) <= loss else None


def route(scores: Scores, in_force: InForce | None) -> Routed:
    """Whether the cheap scores stand. What is not known for certain is sent on."""
    if in_force is None:
        return Routed("no_threshold", None)
    judged = _judged(scores, in_force.through)
    if judged is None:
        return Routed("unread", None)
    if in_force.half_width == inf:
        return Routed("uncalibrated", judged.quality)
    cells = _cells_from(judged.cell, in_force.keep, in_force.drop)
    return Routed("near" if cells <= round(in_force.half_width * CELLS_A_POINT) else "sure", judged.quality)


def _judged(scores: Scores, through: Lens) -> Judged | None:
    try:
        return judge(scores, through)
    except DocumentError:
        return None


def _cells_from(cell: int, keep: Mark, drop: Mark) -> int:
    return min(abs(cell - round(mark.value * CELLS_A_POINT)) for mark in (keep, drop))
