"""Agreement of a student with its teacher on the same documents. Pure.

Spearman's rho is Pearson's correlation of average ranks (ties share their mean rank). In a resample a document has a
weight, and its rank is the one it would have among so many copies. Documents with the same pair of scores count
together, so the work grows with the number of distinct pairs. Bounds: see `bootstrap`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mira_stream.reliability.bootstrap import Floats, bootstrap, bounds
from mira_stream.reliability.table import CellVerdict
from mira_stream.sections import MaskLimits

DECIDABLE_CLUSTERS: Final = 25
"""With fewer independent documents a cell decides nothing: three that happen to agree would have perfect bounds."""
MEASURES: Final = 4


class Agreement(NamedTuple):
    """Teacher against student on `n` documents; rho and its bounds are None where a side is constant.

    `skill` = 1 - MAE / MAE of always answering the teacher's median, 0 if that answer is never wrong;
    `bias` = mean(student - teacher). `clusters`: how many of the documents are no near-duplicates of one another.
    """

    n: int
    mae: float
    mae_lo: float
    mae_hi: float
    rho: float | None
    rho_lo: float | None
    rho_hi: float | None
    skill: float
    bias: float
    clusters: int
    skill_lo: float
    skill_hi: float
    bias_lo: float
    bias_hi: float


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Rank correlation with average ranks for ties; None if a side is constant or there are under two pairs."""
    a = np.asarray(first, np.float64)
    if not len(a):
        return None
    rho = float(spearman_of(a, second, np.ones((len(a), 1)))[0])
    return None if np.isnan(rho) else rho


def spearman_of(first: ArrayLike, second: ArrayLike, drawn: Floats) -> Floats:
    """Rank correlation in each resample of weights [documents, resamples]; nan where a side is constant."""
    pairs = _pairs(first, second)
    return _rho(pairs, _counts(pairs, drawn))


def agreement(teacher: ArrayLike, student: ArrayLike, clusters: Sequence[str] | None = None) -> Agreement:
    """All measures of one cell; without `clusters` every document is its own. Raises ValueError without documents."""
    wanted, given = np.asarray(teacher, np.float64), np.asarray(student, np.float64)
    return agreements(wanted[:, None], given[:, None], clusters)[0]


def agreements(teacher: Floats, student: Floats, clusters: Sequence[str] | None = None) -> list[Agreement]:
    """The cells of the columns (dimensions) of [documents, dimensions]; they share their resamples.

    Raises ValueError without documents, or if shapes differ.
    """
    n = len(teacher)
    if not n:
        raise ValueError("a cell needs documents")
    names = [str(i) for i in range(n)] if clusters is None else clusters
    cells = [_Cell.of(wanted, given) for wanted, given in zip(teacher.T, student.T, strict=True)]

    def statistic(drawn: Floats) -> Floats:
        return np.concatenate([cell.measures(drawn) for cell in cells])

    values = statistic(np.ones((n, 1))).reshape(len(cells), MEASURES)
    # A resample that lost all variance says nothing of the order: it counts as rho 0.
    resampled = np.nan_to_num(bootstrap(names, statistic))
    lows, highs = (side.reshape(len(cells), MEASURES) for side in bounds(resampled, np.nan_to_num(values.ravel())))
    count = len(set(names))
    return [_agreement(n, count, *rows) for rows in zip(values, lows, highs, strict=True)]


def own_verdict(cell: Agreement, limits: MaskLimits) -> CellVerdict:
    """What the cell's own bounds say."""
    if cell.clusters < DECIDABLE_CLUSTERS:
        return "undecided"
    if cell.rho is None or cell.rho_lo is None or cell.rho_hi is None:
        return "no_variance"
    if cell.mae_hi < limits.mae and cell.rho_lo > limits.rho and cell.skill > 0:
        return "reliable"
    if cell.mae_lo >= limits.mae or cell.rho_hi <= limits.rho:
        return "unreliable"
    return "undecided"


def passes(mae: float, rho: float | None, skill: float, limits: MaskLimits) -> bool:
    """What values say without their bounds."""
    return rho is not None and mae < limits.mae and rho > limits.rho and skill > 0


class _Pairs(NamedTuple):
    """Distinct pairs of values, ascending by (first, second).

    `order` [documents] sorts documents by pair, `starts` [pairs] where each pair begins; `by_second` [pairs] sorts
    pairs by their second value; `runs_*` where each value begins, `of_*` [pairs] the number of a pair's value.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    first: Floats
    second: Floats
    by_second: NDArray[np.int64]
    runs_first: NDArray[np.int64]
    runs_second: NDArray[np.int64]
    of_first: NDArray[np.int64]
    of_second: NDArray[np.int64]


class _Cell(NamedTuple):
    """One dimension made ready for resampling; `constant`: what always answering the median errs on each pair."""

    pairs: _Pairs
    errors: Floats
    differences: Floats
    constant: Floats

    @classmethod
    def of(cls, wanted: Floats, given: Floats) -> "_Cell":
        pairs = _pairs(wanted, given)
        differences = pairs.second - pairs.first
        return cls(pairs, np.abs(differences), differences, np.abs(pairs.first - np.median(wanted)))

    def measures(self, drawn: Floats) -> Floats:
        """[MAE, rho, skill, bias] x resamples; rho is nan where a side is constant."""
        counts = _counts(self.pairs, drawn)
        total = counts.sum(0)
        mae, bias, constant = np.stack([self.errors, self.differences, self.constant]) @ counts / total
        skill = 1 - np.divide(mae, constant, out=np.ones_like(mae), where=constant > 0)
        return np.stack([mae, _rho(self.pairs, counts), skill, bias])


def _pairs(first: ArrayLike, second: ArrayLike) -> _Pairs:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"two lists of the same length are needed, not {a.shape} and {b.shape}")
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    fresh = np.concatenate([[True], (a[1:] != a[:-1]) | (b[1:] != b[:-1])])[: len(a)]
    starts = np.flatnonzero(fresh)
    values, others = a[starts], b[starts]
    _, runs_first, of_first = np.unique(values, return_index=True, return_inverse=True)
    by_second = np.argsort(others, kind="stable")
    _, runs_second = np.unique(others[by_second], return_index=True)
    _, of_second = np.unique(others, return_inverse=True)
    return _Pairs(order, starts, values, others, by_second, runs_first, runs_second, of_first, of_second)


def _counts(pairs: _Pairs, drawn: Floats) -> Floats:
    """How often each pair occurs, [pairs, resamples]."""
    return _summed(drawn[pairs.order], pairs.starts)


def _summed(counts: Floats, starts: NDArray[np.int64]) -> Floats:
    """Sum of each run of rows [rows, resamples]; where every row is its own run they are the sums."""
    if len(starts) == len(counts):
        return counts
    sums: Floats = np.add.reduceat(counts, starts, axis=0)
    return sums


def _rho(pairs: _Pairs, counts: Floats) -> Floats:
    """Spearman's rho of each resample; nan where a side is constant."""
    first = _summed(counts, pairs.runs_first)
    second = _summed(counts[pairs.by_second], pairs.runs_second)
    a, b = _centred_ranks(first), _centred_ranks(second)
    covariance = np.einsum("pr,pr,pr->r", counts, a[pairs.of_first], b[pairs.of_second])
    spread = np.einsum("ir,ir,ir->r", first, a, a) * np.einsum("jr,jr,jr->r", second, b, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(spread > 0, covariance / np.sqrt(spread), np.nan)
    return np.clip(rho, -1, 1)


def _centred_ranks(counts: Floats) -> Floats:
    """Average rank of each value, less the mean rank, from how often each occurs [values, resamples]."""
    centred: Floats = np.cumsum(counts, axis=0)
    half = centred[-1] / 2
    centred -= counts / 2
    centred -= half
    return centred


def _agreement(n: int, clusters: int, value: Floats, low: Floats, high: Floats) -> Agreement:
    """One cell from [MAE, rho, skill, bias] and their bounds."""
    mae, rho, skill, bias = map(float, value)
    lows, highs = low.tolist(), high.tolist()
    defined = not np.isnan(rho)
    return Agreement(
        n=n,
        clusters=clusters,
        mae=mae,
        mae_lo=lows[0],
        mae_hi=highs[0],
        rho=rho if defined else None,
        rho_lo=lows[1] if defined else None,
        rho_hi=highs[1] if defined else None,
        skill=skill,
        skill_lo=lows[2],
        skill_hi=highs[2],
        bias=bias,
        bias_lo=lows[3],
        bias_hi=highs[3],
    )
