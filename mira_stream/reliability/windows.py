"""Agreement of student and teacher in one window of a weighted sample, with bounds and the evidence in it. Pure.

A document that was taken with probability p stands for w = 1 / p documents. With Hajek's ratio (Hajek 1971; Sarndal,
Swensson and Wretman 1992, 5.7) MAE = sum w |d| / sum w, and by linearisation

    se(MAE)^2 = n / (n - 1) x sum (w (|d| - MAE))^2 / (sum w)^2

Spearman's rho is the weighted Pearson correlation of weighted mean ranks. On Fisher's scale z = atanh(rho) its
standard error is sqrt((1 + rho^2 / 2) / (n_eff - 3)) (Bonett and Wright 2000), n_eff = (sum w)^2 / sum w^2 (Kish 1965).

A student that answers one score while the teacher's vary ranks nothing: its rho counts as 0. Where the teacher's
scores are constant there is nothing to rank, and MAE alone speaks.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr, stdtrit

from mira_stream.sections import MaskLimits

Floats = NDArray[np.float64]
CONFIDENCE: Final = 0.9
_Z: Final = 1.2815515655446004
"""Normal quantile of CONFIDENCE."""
_RHO_MOST: Final = 0.9999


class CellWindow(NamedTuple):
    """One cell in one window. `*_lo` and `*_hi` are one-sided 90 % bounds; None where undefined.

    `p_unreliable`: small if the window speaks against the cell (MAE over its limit or rho under it: the smaller of
    both p-values, doubled). `p_reliable`: small if it speaks for it (MAE under its limit, rho over it, and skill over
    0: the largest), as a table asks of a cell.
    Both are 1 with fewer than the asked number of labels.
    """

    n: int
    n_eff: float
    mae: float | None
    mae_lo: float | None
    mae_hi: float | None
    rho: float | None
    rho_lo: float | None
    rho_hi: float | None
    p_unreliable: float
    p_reliable: float


EMPTY: Final = CellWindow(0, 0.0, None, None, None, None, None, None, 1.0, 1.0)


def cell_window(teacher: Floats, student: Floats, weights: Floats, limits: MaskLimits, n_min: int) -> CellWindow:
    """Scores [n] of both sides (nan: none) and weights [n] of one cell's labels in a window."""
    both = ~(np.isnan(teacher) | np.isnan(student))
    teacher, student, weights = teacher[both], student[both], weights[both]
    n = len(teacher)
    if n < 2:
        return EMPTY._replace(n=n, n_eff=float(n))
    total = float(weights.sum())
    n_eff = total**2 / float((weights**2).sum())
    mae, mae_se = _mean(np.abs(teacher - student), weights)
    rho = weighted_spearman(teacher, student, weights)
    ranked = rho
    if rho is None and np.ptp(teacher) > 0:
        ranked = 0.0
    steps_mae = float(stdtrit(max(1.0, n_eff - 1), CONFIDENCE)) * mae_se
    enough = n >= n_min and n_eff > 4
    against, behind = _p_side(mae, mae_se, n_eff, limits.mae) if enough else (1.0, 1.0)
    rho_lo = rho_hi = None
    if ranked is not None and n_eff > 4:
        z, z_se = _fisher(ranked, n_eff)
        rho_lo, rho_hi = math.tanh(z - _Z * z_se), math.tanh(z + _Z * z_se)
        if enough:
            steps = (z - math.atanh(limits.rho)) / z_se
            against = min(1.0, 2 * min(against, float(ndtr(steps))))
            behind = max(behind, float(ndtr(-steps)), _p_skill(teacher, student, weights, n_eff))
    elif enough:
        behind = 1.0  # nothing was ranked, so nothing speaks for the cell
    return CellWindow(
        n=n,
        n_eff=n_eff,
        mae=mae,
        mae_lo=max(0.0, mae - steps_mae),
        mae_hi=mae + steps_mae,
        rho=rho,
        rho_lo=rho_lo,
        rho_hi=rho_hi,
        p_unreliable=against,
        p_reliable=behind,
    )


def weighted_spearman(first: Floats, second: Floats, weights: Floats) -> float | None:
    """Rank correlation of a weighted sample, ties sharing their mean rank; None if a side is constant."""
    a, b = _ranks(first, weights), _ranks(second, weights)
    total = float(weights.sum())
    a = a - float((weights * a).sum()) / total
    b = b - float((weights * b).sum()) / total
    spread = float((weights * a**2).sum()) * float((weights * b**2).sum())
    if np.ptp(first) == 0 or np.ptp(second) == 0 or spread <= 0:
        return None
    return max(-1.0, min(1.0, float((weights * a * b).sum()) / math.sqrt(spread)))


def _mean(values: Floats, weights: Floats) -> tuple[float, float]:
    """Weighted mean and its standard error."""
    total = float(weights.sum())
    mean = float((weights * values).sum()) / total
    n = len(values)
    squares = float(((weights * (values - mean)) ** 2).sum())
    return mean, math.sqrt(n / (n - 1) * squares) / total


def _p_side(mean: float, se: float, n_eff: float, limit: float) -> tuple[float, float]:
    """(above, below): how likely a window like this is with the true mean at the limit."""
    if se == 0:  # every document says the same: only its side is known
        return (0.0, 1.0) if mean > limit else (1.0, 0.0) if mean < limit else (1.0, 1.0)
    steps = (mean - limit) / se
    df = n_eff - 1
    return float(stdtr(df, -steps)), float(stdtr(df, steps))


def _p_skill(teacher: Floats, student: Floats, weights: Floats, n_eff: float) -> float:
    """How likely a window like this is if the student errs as much as always answering the teacher's median does."""
    order = np.argsort(teacher, kind="stable")
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    constant = float(teacher[order][min(int(middle), len(teacher) - 1)])
    worse, se = _mean(np.abs(teacher - student) - np.abs(teacher - constant), weights)
    return _p_side(worse, se, n_eff, 0.0)[1]


def _fisher(rho: float, n_eff: float) -> tuple[float, float]:
    return math.atanh(max(-_RHO_MOST, min(_RHO_MOST, rho))), math.sqrt((1 + rho**2 / 2) / (n_eff - 3))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Mean rank of each document by the weight that lies under it."""
    _, index = np.unique(values, return_inverse=True)
    mass = np.bincount(index, weights=weights)
    middle = np.cumsum(mass) - mass / 2
    ranks: Floats = middle[index]
    return ranks
