"""Bootstrap over near-duplicate clusters: copies of a document come and go together. Pure.

A resample draws as many clusters as there are, with replacement; a document's weight is how often its cluster was
drawn (Davison & Hinkley 1997, section 3.8: resampling whole clusters). All resamples are columns of one matrix of
weights, so that a statistic of all of them is a few array operations. The seed is fixed: the same documents give the
same bounds.

Bounds are one-sided: `lo` and `hi` each hold the true value in 90 % of repetitions. They are bias-corrected percentiles
(Efron 1981): a resample's copies are ties, which draw Spearman's rho downwards, and plain percentiles of 200 documents
would hold a true rho of 0.9 in 96 (`lo`) and 87 (`hi`) of 100.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Weights [documents, resamples] in, [statistics, resamples] out; nan where a resample leaves a value undefined."""

RESAMPLES: Final = 1000
SEED: Final = 7
CONFIDENCE: Final = 0.9
_NUMBERS_MAX: Final = 2_000_000
"""So many weights are in memory at once."""


def weights(clusters: Sequence[str], resamples: int = RESAMPLES) -> Iterator[Floats]:
    """How often each document is drawn, [documents, resamples], in chunks of resamples. Needs a document."""
    names, place = np.unique(np.asarray(clusters), return_inverse=True)
    count = len(names)
    chance = np.random.default_rng(SEED)
    step = max(1, _NUMBERS_MAX // max(len(place), count))
    for start in range(0, resamples, step):
        width = min(step, resamples - start)
        drawn = chance.integers(0, count, (width, count)) + count * np.arange(width)[:, None]
        often = np.bincount(drawn.ravel(), minlength=width * count).reshape(width, count)
        yield np.ascontiguousarray(often.T[place]).astype(np.float64)


def bootstrap(clusters: Sequence[str], statistic: Statistic, resamples: int = RESAMPLES) -> Floats:
    """The statistics of every resample, [statistics, resamples]."""
    return np.concatenate([statistic(chunk) for chunk in weights(clusters, resamples)], axis=1)


def bounds(resampled: Floats, values: Floats) -> tuple[Floats, Floats]:
    """One-sided lower and upper bounds of each statistic [statistics], from its resamples [statistics, resamples].

    Holds no nan. Bias-corrected percentiles: with p the share of resamples under the value (ties half) and z = the
    normal quantile of p, the bounds are the resamples' quantiles at Phi(2 z -+ 1.28).
    """
    under = ((resampled < values[:, None]).mean(1) + (resampled <= values[:, None]).mean(1)) / 2
    edge = 0.5 / resampled.shape[1]
    shift = 2 * ndtri(np.clip(under, edge, 1 - edge))
    levels = ndtr(np.stack([shift + ndtri(1 - CONFIDENCE), shift + ndtri(CONFIDENCE)]))
    pairs = [np.quantile(row, level) for row, level in zip(resampled, levels.T, strict=True)]
    low, high = np.array(pairs).T
    return low, high
