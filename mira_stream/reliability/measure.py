"""From held-out labels and the student's scores of the same views to a reliability table. Pure."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, Literal, NamedTuple

import numpy as np

from mira_stream.chance import u
from mira_stream.config import MaskLimits
from mira_stream.errors import DocumentError
from mira_stream.messages import DIMENSIONS, SLOTS, Mask, Mode
from mira_stream.quality import judge, lens
from mira_stream.reliability.metrics import Agreement, agreement, own_verdict, point_verdict, spearman
from mira_stream.reliability.table import (
    WHOLE_GROUP,
    Aggregate,
    Cell,
    CellVerdict,
    ModeReliability,
    SourceReliability,
    Table,
)

MEASURED_SCHEMA: Final[dict[str, Literal["string", "floats", "float64"]]] = {
    "id": "string",
    "source": "string",
    "split": "string",
    "scores": "floats",
    "student_scores": "floats",
    "overall": "float64",
    "recommendation": "string",
}
"""Columns of labels/<group>.parquet: priors are made of `student_scores`; the views themselves are not shipped."""
KEPT_SHARE: Final = 0.5
DECIMALS: Final = 4


class Measured(NamedTuple):
    """One held-out document: the teacher's fifteen scores and the student's."""

    id: str
    source: str
    scores: Sequence[float]
    student_scores: Sequence[float]
    overall: float
    recommendation: str


def measured_columns(rows: Sequence[Measured]) -> dict[str, list[object]]:
    """The columns of MEASURED_SCHEMA."""
    columns: dict[str, list[object]] = {name: [getattr(row, name) for row in rows] for name in Measured._fields}
    return columns | {"split": ["heldout"] * len(rows)}


def measure(
    rows: Sequence[Measured],
    *,
    group: str,
    rubric: str,
    lineage: str,
    labels: bytes,
    limits: MaskLimits,
    trim: float,
    mode: Mode,
) -> Table:
    """The table of one group and mode. `labels` are the bytes of the file the rows stand in.

    Raises ValueError without rows.
    """
    means = [round(float(mean), DECIMALS) for mean in np.mean([row.student_scores for row in rows], axis=0)]
    whole = [agreement(*_sides(rows, index)) for index in range(DIMENSIONS)]
    sources = {WHOLE_GROUP: _source(rows, whole, whole, limits, means, trim)}
    for name in sorted({row.source for row in rows}):
        own = [row for row in rows if row.source == name]
        cells = [agreement(*_sides(own, index)) for index in range(DIMENSIONS)]
        sources[name] = _source(own, cells, whole, limits, means, trim)
    reliability = ModeReliability(lineage=lineage, means=means, sources=sources)
    return Table(
        group=group,
        rubric=rubric,
        labels_sha256=sha256(labels).hexdigest(),
        split="heldout",
        limits=limits,
        modes={mode: reliability},
    )


def verdict(cell: Agreement, whole: Agreement, limits: MaskLimits) -> tuple[CellVerdict, bool]:
    """A cell's verdict, and whether the group's cell had to give it."""
    own = own_verdict(cell, limits)
    if own == "reliable":
        return "reliable", False
    if own == "unreliable":
        return "unreliable", False
    if own == "no_variance":
        return "no_variance", False
    group = own_verdict(whole, limits)
    if group == "undecided":
        group = point_verdict(whole, limits)
    return ("reliable" if group == "reliable" else "unreliable"), True


def aggregate(rows: Sequence[Measured], reliable: Sequence[str], means: Sequence[float], trim: float) -> Aggregate:
    """Agreement of the qualities over the reliable dimensions; all null if these are too few to make one."""
    mask = Mask(
        mask="", group="", source="", lineage="", dimensions=list(reliable), means=list(means), trim=trim, prior=None
    )
    through = lens(mask)._replace(dimensions_min=1)
    try:
        teacher = np.array([judge(list(row.scores), through).quality for row in rows])
        student = np.array([judge(list(row.student_scores), through).quality for row in rows])
    except DocumentError:
        return Aggregate(rho=None, overlap=None, gain=None)
    ties = np.array([u("tie", row.id) for row in rows])
    kept = round(KEPT_SHARE * len(rows))
    if not kept:
        return Aggregate(rho=None, overlap=None, gain=None)
    best, chosen = np.lexsort((ties, -teacher))[:kept], np.lexsort((ties, -student))[:kept]
    possible = teacher[best].mean() - teacher.mean()
    return Aggregate(
        rho=_rounded(spearman(teacher, student)),
        overlap=_rounded(len(set(best.tolist()) & set(chosen.tolist())) / kept),
        gain=_rounded((teacher[chosen].mean() - teacher.mean()) / possible) if possible > 0 else None,
    )


def _source(
    rows: Sequence[Measured],
    cells: Sequence[Agreement],
    whole: Sequence[Agreement],
    limits: MaskLimits,
    means: Sequence[float],
    trim: float,
) -> SourceReliability:
    dimensions = {
        slot: _cell(cell, *verdict(cell, group_cell, limits))
        for slot, cell, group_cell in zip(SLOTS, cells, whole, strict=True)
    }
    reliable = [slot for slot, cell in dimensions.items() if cell.verdict == "reliable"]
    return SourceReliability(n=len(rows), aggregate=aggregate(rows, reliable, means, trim), dimensions=dimensions)


def _cell(cell: Agreement, verdict: CellVerdict, shrunk: bool) -> Cell:
    return Cell(
        n=cell.n,
        mae=round(cell.mae, DECIMALS),
        rho=_rounded(cell.rho),
        mae_hi=round(cell.mae_hi, DECIMALS),
        rho_lo=_rounded(cell.rho_lo),
        skill=round(cell.skill, DECIMALS),
        bias=round(cell.bias, DECIMALS),
        verdict=verdict,
        shrunk=shrunk,
    )


def _sides(rows: Iterable[Measured], index: int) -> tuple[list[float], list[float]]:
    pairs = [(row.scores[index], row.student_scores[index]) for row in rows]
    return [teacher for teacher, _ in pairs], [student for _, student in pairs]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), DECIMALS)
