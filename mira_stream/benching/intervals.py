"""Two saved runs against one another: ratios with bootstrap intervals. Pure.

The unit that is drawn with replacement is a repetition, if both runs have at least REPETITIONS_MIN of them, else a
window of a repetition (windows of one repetition are alike, so these intervals are rather too narrow: `unit` says it).
The statistic is the mean over units; the interval is the percentile interval of RESAMPLES ratios (Efron 1979).
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from mira_stream.benching.result import Run, Turn, Window
from mira_stream.errors import UsageError

REPETITIONS_MIN: Final = 5
RESAMPLES: Final = 4000
CONFIDENCE: Final = 0.95
SEED: Final = 11
Unit = Literal["repetition", "window"]


class Ratio(Struct, frozen=True, kw_only=True):
    """B over A. `shown`: the interval does not hold 1."""

    figure: str
    a: float
    b: float
    ratio: float
    low: float
    high: float
    shown: bool


class Comparison(Struct, frozen=True, kw_only=True):
    """`differences`: what else the two runs differ in, so that the ratio may not be due to what was meant."""

    kind: str
    unit: Unit
    units_a: int
    units_b: int
    ratios: list[Ratio]
    differences: list[str]


FIGURES: Final[dict[str, Callable[[Turn | Window], float | None]]] = {
    "documents_per_s": lambda one: one.documents / one.seconds,
    "p50_ms": lambda one: one.latency_ms.p50 if one.latency_ms else None,
    "p95_ms": lambda one: one.latency_ms.p95 if one.latency_ms else None,
    "p99_ms": lambda one: one.latency_ms.p99 if one.latency_ms else None,
}


def compare(a: Run, b: Run) -> Comparison:
    """Raises UsageError(bench_kinds): two kinds measure different things."""
    if a.kind != b.kind:
        raise UsageError("bench_kinds", f"A is a run of {a.kind}, B of {b.kind}", "compare two runs of one kind")
    unit: Unit = "repetition" if min(len(a.turns), len(b.turns)) >= REPETITIONS_MIN else "window"
    parts_a, parts_b = _units(a, unit), _units(b, unit)
    ratios = [ratio(name, *(_values(parts, name) for parts in (parts_a, parts_b))) for name in FIGURES]
    return Comparison(
        kind=a.kind,
        unit=unit,
        units_a=len(parts_a),
        units_b=len(parts_b),
        ratios=ratios,
        differences=_differences(a, b),
    )


def ratio(figure: str, a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Of the means; needs a positive value on both sides."""
    chance = np.random.default_rng(SEED)
    means = [_resampled(np.asarray(side, np.float64), chance) for side in (a, b)]
    edge = (1 - CONFIDENCE) / 2
    low, high = (float(value) for value in np.quantile(means[1] / means[0], [edge, 1 - edge]))
    mean_a, mean_b = float(np.mean(a)), float(np.mean(b))
    return Ratio(
        figure=figure, a=mean_a, b=mean_b, ratio=mean_b / mean_a, low=low, high=high, shown=not low <= 1 <= high
    )  # fmt: skip


def _resampled(
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]", chance: np.random.Generator
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    drawn = chance.integers(0, len(values), (RESAMPLES, len(values)))
    means: np.ndarray[tuple[int], np.dtype[np.float64]] = values[drawn].mean(axis=1)
    return means


def _units(run: Run, unit: Unit) -> list[Turn | Window]:
    if unit == "repetition":
        return list(run.turns)
    return [window for turn in run.turns for window in turn.windows if window.documents]


def _values(parts: Sequence[Turn | Window], figure: str) -> list[float]:
    found = (FIGURES[figure](part) for part in parts)
    return [value for value in found if value is not None]


def _differences(a: Run, b: Run) -> list[str]:
    found: list[str] = []
    for name in ("machine", "versions", "settings", "load"):
        left, right = _flat(getattr(a, name)), _flat(getattr(b, name))
        keys = sorted((left.keys() | right.keys()) - {"load_average", "memory_free_gib"})
        found += [
            f"{name}.{key}: {left.get(key)} -> {right.get(key)}" for key in keys if left.get(key) != right.get(key)
        ]
    return found


def _flat(table: dict[str, object], before: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat
