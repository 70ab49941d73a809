"""The few statistics the benchmark needs, on scipy. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
LEVEL: Final = 0.05


class Interval(NamedTuple):
    """A mean over seeds and its two-sided 95 % t interval; `p` of the mean being 0."""

    mean: float
    low: float
    high: float
    p: float


def paired(differences: Sequence[float]) -> Interval:
    """Student's t over paired differences. Equal differences have no spread: the interval is a point."""
    found = np.asarray(differences, np.float64)
    mean, error = float(found.mean()), float(stats.sem(found)) if len(found) > 1 else float("nan")
    if not error > 0:
        return Interval(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    half = float(stats.t.ppf(1 - LEVEL / 2, len(found) - 1)) * error
    return Interval(mean, mean - half, mean + half, float(stats.ttest_1samp(found, 0.0).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm, 1979), in the order given."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return [float(value) for value in adjusted]


def auc(scores: ArrayLike, good: ArrayLike) -> tuple[float, float]:
    """Share of (good, bad) pairs in the right order, ties half, and its standard error (Hanley and McNeil, 1982).

    nan without both kinds.
    """
    values, is_good = np.asarray(scores, np.float64), np.asarray(good, bool)
    ups, downs = int(is_good.sum()), int((~is_good).sum())
    if not ups or not downs:
        return float("nan"), float("nan")
    area = float((stats.rankdata(values)[is_good].sum() - ups * (ups + 1) / 2) / (ups * downs))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (ups - 1) * (q1 - area**2) + (downs - 1) * (q2 - area**2)) / (ups * downs)
    return area, float(np.sqrt(max(0.0, variance)))


def kendall(levels: ArrayLike, scores: ArrayLike) -> float:
    """Kendall's tau-b between badness and score, sign turned: 1 = every step down the ladder is seen. 0 if constant."""
    tau = float(stats.kendalltau(np.asarray(levels), np.asarray(scores)).statistic)
    return 0.0 if np.isnan(tau) else -tau


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """0 if a side is constant."""
    if np.ptp(np.asarray(first)) == 0 or np.ptp(np.asarray(second)) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)
