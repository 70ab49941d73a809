"""A cascade on held-out documents: which stage's scores each of them ends with, and the pairs a scorer calibrates on.

Pure. What is measured is the cascade as it will run: under its source's thresholds at the target (those of the full
stage's qualities, for want of a stream), with the half-width that held-out documents give. Both are cross-fitted: those
that a document is routed by come from the FOLDS - 1 tenths of the source's clusters that it is not in, so that
a fit to the documents which are then measured flatters nobody. Ten, since the half-width has to be nearly that of
all of them: half as many documents would promise the same loss only with a wider one, which sends more on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mira_stream.cascade import Calibration, InForce, Pair, route
from mira_stream.chance import u
from mira_stream.errors import DocumentError
from mira_stream.quality import judge
from mira_stream.reliability.measure import Measured, Terms, lens_of
from mira_stream.reliability.table import ModeReliability
from mira_stream.sketch import Sketch

PAIRED: Final = ("id", "source", "cluster", "cheap_scores", "full_scores")
"""Columns of labels/<group>.parquet that a scorer in mode `cascade` reads; null where a row was not measured."""
FOLDS: Final = 10
Given = Mapping[tuple[str, str], Sequence[float]]
"""Scores by (source, id)."""


def cascaded(
    full: Sequence[Measured], cheap: Given, table: ModeReliability, terms: Terms, loss: float
) -> list[Measured]:
    """The rows with the scores that the cascade would have ended with. `table`: of the full stage alone."""
    found: list[Measured] = []
    for source in sorted({row.source for row in full}):
        rows = [row for row in full if row.source == source]
        fitted = [
            _in_force(source, [row for row in rows if _fold(row) != fold], cheap, table, terms, loss)
            for fold in range(FOLDS)
        ]
        for row in rows:
            said = cheap.get((row.source, row.id))
            is_sure = said is not None and route(said, fitted[_fold(row)]).is_sure
            found.append(row._replace(student_scores=said) if said is not None and is_sure else row)
    return found


def pairs_of(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Pair]]:
    """By source, one document of each near-duplicate cluster. A cheap reply that was not read is all null."""
    found: dict[str, dict[str, Pair]] = {}
    for name, source, cluster, cheap, full in zip(*(columns[name] for name in PAIRED), strict=True):
        if full is not None:
            pair = Pair(name, [None] * len(full) if cheap is None else cheap, full)
            found.setdefault(source, {}).setdefault(cluster or name, pair)
    return {source: list(pairs.values()) for source, pairs in found.items()}


def _fold(row: Measured) -> int:
    """The same for all of a cluster."""
    return int(u("fold", row.cluster or row.id) * FOLDS)


def _in_force(
    source: str, rows: Sequence[Measured], cheap: Given, table: ModeReliability, terms: Terms, loss: float
) -> InForce | None:
    if not rows:
        return None
    through, target = lens_of(source, table, terms), terms.target(source)
    sketch = Sketch()
    for row in rows:
        try:
            sketch.add(judge(list(row.student_scores), through).cell, 1)
        except DocumentError:
            return None  # fewer dimensions are reliable than a quality needs
    half = min(terms.band, 2 * target, 2 * (1 - target)) / 2
    keep, drop = sketch.upper_tail(target - half, "documents"), sketch.upper_tail(target + half, "documents")
    columns: dict[str, Sequence[Any]] = {
        "id": [row.id for row in rows],
        "source": [source] * len(rows),
        "cluster": [row.cluster for row in rows],
        "cheap_scores": [cheap.get((source, row.id)) for row in rows],
        "full_scores": [row.student_scores for row in rows],
    }
    known = Calibration(pairs_of(columns)[source], through, {})
    return InForce(source, 0, keep, drop, through, known.half_width(keep, drop, loss))
