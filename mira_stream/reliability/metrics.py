"""Agreement of a student with its teacher on the same documents. Pure.

Bounds are one-sided 90 %, by a bootstrap over documents with a fixed seed: a resample of `n` documents is a
multinomial draw of the joint table of (teacher, student) scores, so that MAE and rho of all resamples are a few
array operations. Spearman's rho is Pearson's correlation of average ranks (ties share their mean rank).
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mira_stream.config import MaskLimits

Floats = NDArray[np.float64]
RESAMPLES: Final = 1000
SEED: Final = 7
CONFIDENCE: Final = 0.9


class Agreement(NamedTuple):
    """Teacher against student on `n` documents; rho and its bounds are None where a side is constant."""

    n: int
    mae: float
    mae_lo: float
    mae_hi: float
    rho: float | None
    rho_lo: float | None
    rho_hi: float | None
    skill: float
    bias: float


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Rank correlation with average ranks for ties; None if a side is constant or there are under two pairs."""
    joint, _, _ = _joint(first, second)
    return None if joint is None else _or_none(_rho(joint[None])[0])


def agreement(teacher: ArrayLike, student: ArrayLike) -> Agreement:
    """All measures of one cell. Raises ValueError without documents.

    `skill` = 1 - MAE / MAE of always answering the teacher's median; 0 if that answer is never wrong.
    """
    joint, wanted, given = _joint(teacher, student)
    if joint is None:
        raise ValueError("a cell needs documents")
    n = int(joint.sum())
    distance = np.abs(wanted[:, None] - given[None, :])
    mae = float((joint * distance).sum() / n)
    labels = np.repeat(wanted, joint.sum(1).astype(int))
    constant = float(np.abs(labels - np.median(labels)).mean())
    draws = np.random.default_rng(SEED).multinomial(n, (joint / n).ravel(), RESAMPLES)
    tables = draws.reshape(RESAMPLES, *joint.shape).astype(np.float64)
    maes = np.einsum("rij,ij->r", tables, distance) / n
    rhos = _rho(tables)
    rho, rhos = _rho(joint[None])[0], rhos[~np.isnan(rhos)]
    defined = not np.isnan(rho) and len(rhos) > 0
    return Agreement(
        n=n,
        mae=mae,
        mae_lo=float(np.quantile(maes, 1 - CONFIDENCE)),
        mae_hi=float(np.quantile(maes, CONFIDENCE)),
        rho=float(rho) if defined else None,
        rho_lo=float(np.quantile(rhos, 1 - CONFIDENCE)) if defined else None,
        rho_hi=float(np.quantile(rhos, CONFIDENCE)) if defined else None,
        skill=1 - mae / constant if constant else 0.0,
        bias=float((joint * (given[None, :] - wanted[:, None])).sum() / n),
    )


def own_verdict(cell: Agreement, limits: MaskLimits) -> str:
    """What the cell's own bounds say: reliable, unreliable, no_variance, or undecided."""
    if cell.rho is None or cell.rho_lo is None or cell.rho_hi is None:
        return "no_variance"
    if cell.mae_hi < limits.mae and cell.rho_lo > limits.rho and cell.skill > 0:
        return "reliable"
    if cell.mae_lo >= limits.mae or cell.rho_hi <= limits.rho:
        return "unreliable"
    return "undecided"


def point_verdict(cell: Agreement, limits: MaskLimits) -> str:
    """What the cell's values say without their bounds: reliable or unreliable."""
    if cell.rho is None:
        return "unreliable"
    return "reliable" if cell.mae < limits.mae and cell.rho > limits.rho and cell.skill > 0 else "unreliable"


def _joint(first: ArrayLike, second: ArrayLike) -> tuple[Floats | None, Floats, Floats]:
    """Counts [k, m] of each pair of values, and the values of both sides, ascending."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"two lists of the same length are needed, not {a.shape} and {b.shape}")
    if not len(a):
        return None, a, b
    rows, i = np.unique(a, return_inverse=True)
    columns, j = np.unique(b, return_inverse=True)
    counts = np.bincount(i * len(columns) + j, minlength=len(rows) * len(columns))
    return counts.reshape(len(rows), len(columns)).astype(np.float64), rows, columns


def _rho(tables: Floats) -> Floats:
    """Spearman's rho of each joint table [r, k, m]; nan where a side is constant."""
    n = tables.sum((1, 2))
    a, b = _centred_ranks(tables.sum(2)), _centred_ranks(tables.sum(1))
    covariance = np.einsum("rij,ri,rj->r", tables, a, b)
    spread = np.einsum("ri,ri->r", tables.sum(2), a**2) * np.einsum("rj,rj->r", tables.sum(1), b**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where((spread > 0) & (n > 1), covariance / np.sqrt(spread), np.nan)
    return np.clip(rho, -1, 1)


def _centred_ranks(counts: Floats) -> Floats:
    """Average rank of each value, less the mean rank, from how often each occurs [r, k]."""
    below = np.cumsum(counts, axis=1) - counts
    ranks = below + (counts + 1) / 2
    centred: Floats = ranks - (counts.sum(1, keepdims=True) + 1) / 2
    return centred


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
