"""What a student would keep, against what its teacher would keep, of the same documents. Pure.

Every cell of a source can pass while the kept set is wrong: an error that all dimensions of a document share does not
average out. So the aggregate is measured where it is used: at the source's retention target.

    overlap = share of what the teacher keeps that the student keeps too; by chance it is the target
    kappa   = (overlap - target) / (1 - target): Cohen's, of two raters who keep equally many (Cohen 1960)
    gain    = (mean teacher quality of what the student keeps - of all) / (of what the teacher keeps - of all)

All is what random keeps on average. In a resample a document counts by its weight, and the one on the edge in part.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from mira_stream.chance import u
from mira_stream.reliability.bootstrap import Floats, bootstrap, bounds
from mira_stream.reliability.metrics import spearman_of

GAIN_MIN: Final = 0.9
"""Below it a kept set counts as wrong. Were qualities normal, the gain would be their correlation: at 0.9 and a target
of one half, 86 % of what the teacher keeps is kept (1/2 + asin(0.9)/pi). Errors of MAE 0.96 that are independent
between fifteen dimensions give about 0.97, the same errors shared by all of them about 0.77."""
EQUAL: Final = 1e-9
"""A teacher's gain over random below this is rounding: nothing can be gained."""


class KeptSets(NamedTuple):
    """At `target`. A value with its bounds is None where it is undefined."""

    rho: float | None
    rho_lo: float | None
    overlap: float
    overlap_lo: float | None
    kappa: float | None
    kappa_lo: float | None
    gain: float | None
    gain_lo: float | None
    gain_hi: float | None


def kept_sets(
    teacher: Sequence[float], student: Sequence[float], ids: Sequence[str], clusters: Sequence[str], target: float
) -> KeptSets | None:
    """Qualities of the same documents; None if the target keeps nothing. Raises ValueError without documents."""
    if not len(ids):
        raise ValueError("kept sets need documents")
    if target <= 0:
        return None
    wanted, given = np.asarray(teacher, np.float64), np.asarray(student, np.float64)
    ties = np.array([u("tie", name) for name in ids])
    best, chosen = np.lexsort((ties, -wanted)), np.lexsort((ties, -given))

    def statistic(drawn: Floats) -> Floats:
        """[overlap, gain, rho] x resamples."""
        ideal, real = _kept(drawn, best, target), _kept(drawn, chosen, target)
        amount = target * drawn.sum(0)
        everything = wanted @ drawn / drawn.sum(0)
        possible, achieved = wanted @ ideal / amount - everything, wanted @ real / amount - everything
        gain = np.divide(achieved, possible, out=np.full_like(achieved, np.nan), where=possible > EQUAL)
        return np.stack([np.minimum(ideal, real).sum(0) / amount, gain, spearman_of(wanted, given, drawn)])

    overlap, gain, rho = statistic(np.ones((len(wanted), 1)))[:, 0].tolist()
    resampled = bootstrap(clusters, statistic)
    overlap_lo, rho_lo = _bounds(np.nan_to_num(resampled[0]), overlap)[0], _bounds(np.nan_to_num(resampled[2]), rho)[0]
    gain_lo, gain_hi = _bounds(resampled[1][~np.isnan(resampled[1])], gain)
    return KeptSets(
        rho=None if np.isnan(rho) else rho,
        rho_lo=rho_lo,
        overlap=overlap,
        overlap_lo=overlap_lo,
        kappa=_kappa(overlap, target),
        kappa_lo=_kappa(overlap_lo, target),
        gain=None if np.isnan(gain) else gain,
        gain_lo=gain_lo,
        gain_hi=gain_hi,
    )


def gain_difference(
    teacher: Sequence[float],
    fast: Sequence[float],
    slow: Sequence[float],
    ids: Sequence[str],
    clusters: Sequence[str],
    target: float,
) -> tuple[float, float] | None:
    """(gain of `fast` less that of `slow`, its lower bound), both on the same resamples; None where nothing can be
    gained or the target keeps nothing."""
    if target <= 0:
        return None
    wanted = np.asarray(teacher, np.float64)
    ties = np.array([u("tie", name) for name in ids])
    best, one, other = (np.lexsort((ties, -np.asarray(side, np.float64))) for side in (teacher, fast, slow))

    def statistic(drawn: Floats) -> Floats:
        """[difference] x resamples."""
        amount = target * drawn.sum(0)
        possible = wanted @ _kept(drawn, best, target) / amount - wanted @ drawn / drawn.sum(0)
        apart = wanted @ (_kept(drawn, one, target) - _kept(drawn, other, target)) / amount
        found: Floats = np.divide(apart, possible, out=np.full_like(apart, np.nan), where=possible > EQUAL)
        return found[None]

    difference = float(statistic(np.ones((len(wanted), 1)))[0, 0])
    resampled = bootstrap(clusters, statistic)[0]
    low = _bounds(resampled[~np.isnan(resampled)], difference)[0]
    return None if low is None else (difference, low)


def _bounds(resampled: Floats, value: float) -> tuple[float | None, float | None]:
    """None, None where the value or every resample is undefined."""
    if np.isnan(value) or not len(resampled):
        return None, None
    low, high = bounds(resampled[None], np.array([value]))
    return float(low[0]), float(high[0])


def _kept(drawn: Floats, order: Sequence[int], target: float) -> Floats:
    """How much of each document [documents, resamples] is kept, the best first, until the target is full."""
    ordered = drawn[order]
    before = np.cumsum(ordered, axis=0) - ordered
    kept = np.empty_like(drawn)
    kept[order] = np.clip(target * drawn.sum(0) - before, 0, ordered)
    return kept


def _kappa(overlap: float | None, target: float) -> float | None:
    return None if overlap is None or target >= 1 else (overlap - target) / (1 - target)
