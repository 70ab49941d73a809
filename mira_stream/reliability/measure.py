"""From held-out labels and the student's scores of the same views to a reliability table. Pure."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, Literal, NamedTuple

import numpy as np
from msgspec.structs import replace

from mira_stream.config import Settings
from mira_stream.errors import DocumentError
from mira_stream.messages import DIMENSIONS, SLOTS, Mask, Mode
from mira_stream.quality import Lens, judge, lens
from mira_stream.reliability.bootstrap import Floats
from mira_stream.reliability.kept import GAIN_MIN, KeptSets, kept_sets
from mira_stream.reliability.metrics import DECIDABLE_CLUSTERS, Agreement, agreements, own_verdict, passes
from mira_stream.reliability.shrink import Shrunk, shrink_cells
from mira_stream.reliability.table import (
    WHOLE_GROUP,
    Aggregate,
    Cell,
    CellVerdict,
    ModeReliability,
    SourceReliability,
    Table,
)
from mira_stream.reliability.warnings import left_out, source_warnings
from mira_stream.sections import MaskLimits

MEASURED_SCHEMA: Final[dict[str, Literal["string", "floats", "float64"]]] = {
    "id": "string",
    "source": "string",
    "split": "string",
    "cluster": "string",
    "scores": "floats",
    "student_scores": "floats",
    "overall": "float64",
    "recommendation": "string",
}
"""Columns of labels/<group>.parquet: priors are made of `student_scores`; the views themselves are not shipped."""
TARGET: Final = 0.5
DIMENSIONS_MIN: Final = 3
DECIMALS: Final = 4


class Measured(NamedTuple):
    """One held-out document: the teacher's fifteen scores and the student's. Without cluster it is its own."""

    id: str
    source: str
    scores: Sequence[float]
    student_scores: Sequence[float]
    overall: float
    recommendation: str
    cluster: str = ""


class Terms(NamedTuple):
    """What a table is judged by. `targets`: retention by source, of the others under WHOLE_GROUP; `sources`: those
    that should be measured; `unread`: held-out documents whose student's reply lacked scores."""

    limits: MaskLimits
    trim: float
    targets: Mapping[str, float] = {}
    dimensions_min: int = DIMENSIONS_MIN
    sources: tuple[str, ...] = ()
    unread: int = 0
    band: float = 0.0

    def target(self, source: str) -> float:
        return self.targets.get(source, self.targets.get(WHOLE_GROUP, TARGET))


def terms_of(settings: Settings, group: str) -> Terms:
    """What the project says: limits, trim, and each source's retention target."""
    own = {name: section for name, section in settings.sources.items() if section.group == group}
    targets = {name: section.retention for name, section in own.items() if section.retention is not None}
    mask = settings.mask
    return Terms(
        mask.limits,
        mask.trim,
        {WHOLE_GROUP: settings.retention.target, **targets},
        mask.dimensions_min,
        tuple(sorted(own)),
        band=settings.retention.band,
    )


def measured_columns(rows: Sequence[Measured]) -> dict[str, list[object]]:
    """The columns of MEASURED_SCHEMA."""
    columns: dict[str, list[object]] = {name: [getattr(row, name) for row in rows] for name in Measured._fields}
    return columns | {"split": ["heldout"] * len(rows), "cluster": [_cluster(row) for row in rows]}


def measure(
    rows: Sequence[Measured], *, group: str, rubric: str, lineage: str, labels: bytes, mode: Mode, terms: Terms
) -> Table:
    """The table of one group and mode. `labels` are the bytes of the file the rows stand in.

    Raises ValueError without rows.
    """
    means = [round(float(mean), DECIMALS) for mean in np.mean([row.student_scores for row in rows], axis=0)]
    parts = {name: [row for row in rows if row.source == name] for name in sorted({row.source for row in rows})}
    whole = _cells(rows)
    cells = [_cells(part) if len(parts) > 1 else whole for part in parts.values()]
    shrunk = shrink_cells(cells, np.array([_error_variance(part) for part in parts.values()]))
    group_cells = _source(WHOLE_GROUP, rows, whole, whole, [None] * DIMENSIONS, means, terms)
    sources = {
        WHOLE_GROUP: replace(
            group_cells,
            warnings=group_cells.warnings
            + left_out(len(rows), [name for name in terms.sources if name not in parts], terms.unread),
        )
    }
    for (name, part), own, borrowed in zip(parts.items(), cells, shrunk, strict=True):
        sources[name] = _source(name, part, own, whole, borrowed, means, terms)
    return Table(
        group=group,
        rubric=rubric,
        labels_sha256=sha256(labels).hexdigest(),
        split="heldout",
        limits=terms.limits,
        modes={mode: ModeReliability(lineage=lineage, means=means, sources=sources)},
    )


def verdict(cell: Agreement, shrunk: Shrunk | None, whole: Agreement, limits: MaskLimits) -> CellVerdict:
    """What counts for a cell: its own verdict, or for an undecided one what its values say, shrunk to the group.

    The whole group's cell (`shrunk` None) has nothing to borrow from. Where the group's documents are too few as
    well, or constant, it stays undecided or has no variance.
    """
    own = own_verdict(cell, limits)
    if own != "undecided":
        return own
    group = own_verdict(whole, limits)
    if whole.clusters < DECIDABLE_CLUSTERS or group == "no_variance":
        return group
    mae, rho = (cell.mae, cell.rho) if shrunk is None else (shrunk.mae, shrunk.rho)
    unsure = cell.clusters < DECIDABLE_CLUSTERS or cell.skill_lo <= 0 < cell.skill_hi
    skill = whole.skill if unsure else cell.skill
    return "reliable" if mae is not None and passes(mae, rho, skill, limits) else "unreliable"


def aggregate(
    rows: Sequence[Measured], reliable: Sequence[str], means: Sequence[float], target: float, terms: Terms
) -> Aggregate:
    """Agreement of the qualities over the reliable dimensions; all null if there are none, no bounds from a few
    documents."""
    nothing = Aggregate(rho=None, overlap=None, gain=None, target=target)
    mask = Mask(
        mask="",
        group="",
        source="",
        lineage="",
        dimensions=list(reliable),
        means=list(means),
        trim=terms.trim,
        prior=None,
    )
    through = lens(mask)._replace(dimensions_min=1)
    try:
        teacher = [judge(list(row.scores), through).quality for row in rows]
        student = [judge(list(row.student_scores), through).quality for row in rows]
    except DocumentError:
        return nothing
    clusters = [_cluster(row) for row in rows]
    sets = kept_sets(teacher, student, [row.id for row in rows], clusters, target)
    if sets is None:
        return nothing
    if len(set(clusters)) < DECIDABLE_CLUSTERS:
        sets = sets._replace(rho_lo=None, overlap_lo=None, kappa_lo=None, gain_lo=None, gain_hi=None)
    passing = len(reliable) >= terms.dimensions_min
    return _aggregate(sets, target, passing and sets.gain_lo is not None and sets.gain_lo < GAIN_MIN)


def lens_of(source: str, table: ModeReliability, terms: Terms) -> Lens:
    """How a source's scores of this mode become a quality."""
    mask = Mask(
        mask="", group="", source=source, lineage="", dimensions=list(table.of(source).reliable),
        means=list(table.means), trim=terms.trim, dimensions_min=terms.dimensions_min,
    )  # fmt: skip
    return lens(mask)


def _source(
    name: str,
    rows: Sequence[Measured],
    cells: Sequence[Agreement],
    whole: Sequence[Agreement],
    shrunk: Sequence[Shrunk | None],
    means: Sequence[float],
    terms: Terms,
) -> SourceReliability:
    dimensions = {
        slot: _cell(cell, borrowed, verdict(cell, borrowed, group_cell, terms.limits), terms.limits)
        for slot, cell, borrowed, group_cell in zip(SLOTS, cells, shrunk, whole, strict=True)
    }
    reliable = [slot for slot, cell in dimensions.items() if cell.verdict == "reliable"]
    found = aggregate(rows, reliable, means, terms.target(name), terms)
    return SourceReliability(
        n=len(rows),
        clusters=cells[0].clusters,
        aggregate=found,
        dimensions=dimensions,
        warnings=source_warnings(cells[0], len(reliable), terms.dimensions_min, found),
    )


def _cells(rows: Sequence[Measured]) -> list[Agreement]:
    teacher, student = _sides(rows)
    return agreements(teacher, student, [_cluster(row) for row in rows])


def _error_variance(rows: Sequence[Measured]) -> Floats:
    """Variance of |student - teacher| in each dimension."""
    teacher, student = _sides(rows)
    errors = np.abs(student - teacher)
    spread: Floats = errors.var(0) * len(rows) / max(1, len(rows) - 1)
    return spread


def _sides(rows: Sequence[Measured]) -> tuple[Floats, Floats]:
    return np.array([row.scores for row in rows], np.float64), np.array(
        [row.student_scores for row in rows], np.float64
    )


def _cluster(row: Measured) -> str:
    return row.cluster or row.id


def _cell(cell: Agreement, shrunk: Shrunk | None, verdict: CellVerdict, limits: MaskLimits) -> Cell:
    own = own_verdict(cell, limits)
    borrowed = shrunk if shrunk is not None and own == "undecided" else None
    return Cell(
        n=cell.n,
        mae=round(cell.mae, DECIMALS),
        rho=_rounded(cell.rho),
        mae_hi=round(cell.mae_hi, DECIMALS),
        rho_lo=_rounded(cell.rho_lo),
        skill=round(cell.skill, DECIMALS),
        bias=round(cell.bias, DECIMALS),
        verdict=verdict,
        shrunk=borrowed is not None,
        own=own,
        mae_lo=_rounded(cell.mae_lo),
        rho_hi=_rounded(cell.rho_hi),
        skill_lo=_rounded(cell.skill_lo),
        skill_hi=_rounded(cell.skill_hi),
        bias_lo=_rounded(cell.bias_lo),
        bias_hi=_rounded(cell.bias_hi),
        mae_shrunk=None if borrowed is None else _rounded(borrowed.mae),
        rho_shrunk=None if borrowed is None else _rounded(borrowed.rho),
    )


def _aggregate(sets: KeptSets, target: float, shared_error: bool) -> Aggregate:
    values = {name: _rounded(value) for name, value in sets._asdict().items()}
    return Aggregate(target=target, overlap_chance=target, shared_error=shared_error, **values)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), DECIMALS)
