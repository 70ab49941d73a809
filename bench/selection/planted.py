"""Cells of known truth for the mask: teacher and student scores drawn with a given rank correlation, 0 or at least 0.6.

Scores bunch at 7 and 8 of 10, as one-record scores of judges do, so that even a student that answers at random has
an MAE under the limit of 1.0: rho alone tells good cells from bad ones. A pair is drawn from a Gaussian copula, whose
correlation r = 2 sin(pi rho / 6) gives Spearman's rho (Kruskal, 1958), before both sides are cut into whole scores.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mira_stream.config import MaskLimits
from mira_stream.messages import DIMENSIONS, SLOTS
from mira_stream.reliability.measure import Measured, Terms, measure

Floats = NDArray[np.float64]
LEVELS: Final = (6.0, 7.0, 8.0, 9.0)
SHARES: Final = (0.12, 0.5, 0.33, 0.05)
RHO: Final = (0.6, 0.95)
"""Between these the rho of a good cell is drawn, uniform."""
TRIM: Final = 0.1


class MaskCheck(NamedTuple):
    """Over all planted cells: of those that count, the share that should (precision); of those that should, the
    share that counts (recall). `decided`: the share the cells' own bounds decided, without their group."""

    cells: int
    documents: int
    precision: float
    recall: float
    decided: float
    masked: int


def planted_cells(sources: int, documents: int, seed: int) -> tuple[list[Measured], NDArray[np.bool_]]:
    """Rows of `sources` sources with `documents` each, and which cells [sources, 15] are good: about half."""
    chance = np.random.default_rng(seed)
    good = chance.random((sources, DIMENSIONS)) < 0.5
    rho = np.where(good, chance.uniform(*RHO, good.shape), 0.0)
    rows = []
    for number in range(sources):
        teacher, student = _scores(2 * np.sin(math.pi * rho[number] / 6), documents, chance)
        for index, (wanted, given) in enumerate(zip(teacher.tolist(), student.tolist(), strict=True)):
            name = f"planted-{number}"
            rows.append(Measured(f"{name}/{index}", name, wanted, given, 50.0, "downsample", f"{name}/{index}"))
    return rows, good


def check_masks(sources: int, documents: int, seeds: int, limits: MaskLimits) -> MaskCheck:
    """Measures planted groups as `mira-stream reliability` does, and compares its verdicts with the truth."""
    kept, true, own = [], [], []
    for seed in range(seeds):
        rows, good = planted_cells(sources, documents, seed)
        table = measure(
            rows, group="planted", rubric="", lineage="", labels=b"", mode="scores", terms=Terms(limits, TRIM)
        )
        measured = table.modes["scores"].sources
        for number in range(sources):
            cells = [measured[f"planted-{number}"].dimensions[slot] for slot in SLOTS]
            kept += [cell.verdict == "reliable" for cell in cells]
            own += [not cell.shrunk for cell in cells]
            true += good[number].tolist()
    counts, should = np.array(kept), np.array(true)
    both = int((counts & should).sum())
    return MaskCheck(
        cells=len(counts),
        documents=documents,
        precision=both / max(1, int(counts.sum())),
        recall=both / max(1, int(should.sum())),
        decided=float(np.mean(own)),
        masked=int((~counts).sum()),
    )


def _scores(correlations: Floats, documents: int, chance: np.random.Generator) -> tuple[Floats, Floats]:
    """Teacher's and student's scores, each [documents, 15], with these correlations before they are cut."""
    first, second = chance.standard_normal((2, documents, DIMENSIONS))
    other = correlations * first + np.sqrt(1 - correlations**2) * second
    cuts = stats.norm.ppf(np.cumsum(SHARES)[:-1])
    levels = np.array(LEVELS)
    return levels[np.searchsorted(cuts, first)], levels[np.searchsorted(cuts, other)]
