"""The few statistics the benchmark needs, on scipy. Pure."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
LEVEL: Final = 0.05
RESAMPLES: Final = 1000
SEED: Final = 7


class Interval(NamedTuple):
    """A mean over seeds and its two-sided 95 % t interval; `p` of the mean being 0."""

    mean: float
    low: float
    high: float
    p: float


class Area(NamedTuple):
    """Area under the ROC curve and its 95 % interval."""

    area: float
    low: float
    high: float


def paired(differences: Sequence[float]) -> Interval:
    """Student's t over paired differences. Equal differences have no spread: the interval is a point. One alone says
    nothing of a spread: the interval is without end."""
    found = np.asarray(differences, np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return Interval(mean, -math.inf, math.inf, 1.0)
    error = float(stats.sem(found))
    if not error > 0:
        return Interval(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    half = float(stats.t.ppf(1 - LEVEL / 2, len(found) - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, len(found) - 1))
    return Interval(mean, mean - half, mean + half, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm, 1979), in the order given."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return [float(value) for value in adjusted]


def auc(scores: ArrayLike, good: ArrayLike, clusters: Sequence[str]) -> Area:
    """Share of (good, bad) pairs in the right order, ties half. Bounds: 95 % of resamples of whole clusters, since
    documents about one thing are no independent draws. nan without both kinds."""
    values, is_good = np.asarray(scores, np.float64), np.asarray(good, bool)
    ups, downs = values[is_good], values[~is_good]
    if not len(ups) or not len(downs):
        return Area(float("nan"), float("nan"), float("nan"))
    right = (ups[:, None] > downs[None, :]) + 0.5 * (ups[:, None] == downs[None, :])
    names, of = np.unique(np.asarray(clusters), return_inverse=True)
    drawn = np.random.default_rng(SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    high, low = drawn[:, of[is_good]].astype(np.float64), drawn[:, of[~is_good]].astype(np.float64)
    pairs = high.sum(1) * low.sum(1)
    areas = np.einsum("rg,rg->r", high, low @ right.T)[pairs > 0] / pairs[pairs > 0]
    bounds = np.quantile(areas, [LEVEL / 2, 1 - LEVEL / 2])
    return Area(float(right.mean()), float(bounds[0]), float(bounds[1]))


def kendall(levels: ArrayLike, scores: ArrayLike) -> float:
    """Kendall's tau-b between badness and score, sign turned: 1 = every step down the ladder is seen. 0 if constant."""
    tau = float(stats.kendalltau(np.asarray(levels), np.asarray(scores)).statistic)
    return 0.0 if np.isnan(tau) else -tau


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """0 if a side is constant."""
    if np.ptp(np.asarray(first)) == 0 or np.ptp(np.asarray(second)) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)
