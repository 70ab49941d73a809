"""Undecided cells borrow from their group: empirical Bayes, one dimension over the sources of a group. Pure.

A source's value y with error variance v comes from a group of sources whose true values are normal with mean m and
variance t (the random-effects model). Then, with B = v / (v + t),

    posterior mean      (1 - B) y + B m
    posterior variance  (1 - B) v + B^2 Var(m)         (Morris 1983: the mean of the group is itself estimated)

t is DerSimonian and Laird's (1986) estimate, summed over the dimensions of the group: two sources alone say nearly
nothing of how much sources differ, two sources in fifteen dimensions do. m weighs sources by 1 / (v + t).

rho is shrunk as Fisher's z = atanh(rho), whose variance for Spearman's rho is (1 + rho^2 / 2) / (n - 3) (Bonett and
Wright 2000); MAE as it is, with the variance of a mean. n counts clusters, not documents.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from mira_stream.reliability.bootstrap import CONFIDENCE, Floats
from mira_stream.reliability.metrics import DECIDABLE_CLUSTERS, Agreement

RHO_MAX: Final = 0.999
"""atanh(1) is infinite."""
QUANTILE: Final = 1.2815515655446004
"""Of the standard normal distribution, at CONFIDENCE."""
VARIANCE_MIN: Final = 1e-9
assert CONFIDENCE == 0.9


class Shrunk(NamedTuple):
    """A cell's values after borrowing, with one-sided 90 % bounds; None where the group knows nothing either."""

    mae: float | None
    mae_hi: float | None
    rho: float | None
    rho_lo: float | None


class Posterior(NamedTuple):
    """[sources, dimensions]; nan where no source says anything of a dimension."""

    mean: Floats
    variance: Floats


def shrink(values: Floats, variances: Floats) -> Posterior:
    """Posterior of each value [sources, dimensions]; an infinite variance (value then ignored) is no information."""
    known = np.isfinite(variances) & np.isfinite(values)
    y = np.where(known, values, 0.0)
    v = np.where(known, np.maximum(variances, VARIANCE_MIN), 1.0)
    between = _between(y, v, known)
    weight = known / (v + between)
    total = weight.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (weight * y).sum(0) / total
        centre_variance = 1 / total
    share = np.where(known, v / (v + between), 1.0)
    own = np.where(known, v * between / (v + between), between)
    mean = (1 - share) * y + share * centre
    return Posterior(mean, own + share**2 * np.where(np.isfinite(centre), centre_variance, np.nan))


def shrink_cells(cells: Sequence[Sequence[Agreement]], squares: Floats) -> list[list[Shrunk]]:
    """Every cell [sources][dimensions] of a group, shrunk. `squares`: variance of |student - teacher|, same shape."""
    clusters = np.array([[cell.clusters for cell in row] for row in cells], np.float64)
    rhos = np.array([[np.nan if cell.rho is None else cell.rho for cell in row] for row in cells], np.float64)
    clipped = np.clip(rhos, -RHO_MAX, RHO_MAX)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(clusters > 3, (1 + clipped**2 / 2) / (clusters - 3), np.inf)
    order = shrink(np.arctanh(clipped), spread)
    maes = np.array([[cell.mae for cell in row] for row in cells])
    errors = shrink(maes, _error_variance(squares, clusters) / clusters)
    rho, rho_lo = np.tanh(order.mean), np.tanh(order.mean - QUANTILE * np.sqrt(order.variance))
    mae, mae_hi = np.maximum(errors.mean, 0), errors.mean + QUANTILE * np.sqrt(errors.variance)
    return [
        [Shrunk(*map(_or_none, (mae[s, d], mae_hi[s, d], rho[s, d], rho_lo[s, d]))) for d in range(maes.shape[1])]
        for s in range(maes.shape[0])
    ]


def _between(y: Floats, v: Floats, known: Floats) -> float:
    """DerSimonian and Laird's variance between sources, pooled over dimensions."""
    weight = known / v
    total = weight.sum(0)
    used = known.sum(0) > 1
    if not used.any():
        return 0.0
    weight, y, total = weight[:, used], y[:, used], total[used]
    centre = (weight * y).sum(0) / total
    excess = (weight * (y - centre) ** 2).sum() - (known[:, used].sum(0) - 1).sum()
    return max(0.0, float(excess / (total - (weight**2).sum(0) / total).sum()))


def _error_variance(squares: Floats, clusters: Floats) -> Floats:
    """A source with few documents takes the variance of its group: its own may be zero by luck."""
    pooled = (squares * clusters).sum(0) / clusters.sum(0)
    variance: Floats = np.where(clusters < DECIDABLE_CLUSTERS, np.maximum(pooled, squares), squares)
    return variance


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
