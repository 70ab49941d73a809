"""What a person should know of a source before its mask is used: each line begins with a word and a colon. Pure."""

from collections.abc import Sequence
from typing import Final

from mira_stream.reliability.kept import GAIN_MIN
from mira_stream.reliability.metrics import DECIDABLE_CLUSTERS, Agreement
from mira_stream.reliability.table import Aggregate, Ceiling, Retest
from mira_stream.sections import MaskLimits

HELDOUT: Final = 200
"""Held-out documents of a source that a verdict is meant to be given by."""
FEW: Final = 100
"""With fewer a source bears a standing warning."""


def source_warnings(cell: Agreement, reliable: int, dimensions_min: int, found: Aggregate) -> list[str]:
    """Of a source (any of its cells says how many documents it has) in which so many dimensions are reliable."""
    said = []
    copies = f" ({cell.n} with their copies)" if cell.n != cell.clusters else ""
    documents = f"{cell.clusters} independent held-out documents{copies}"
    if cell.clusters < DECIDABLE_CLUSTERS:
        said.append(f"undecided: {documents}, {DECIDABLE_CLUSTERS} are needed for a verdict of its own")
    elif cell.clusters < FEW:
        said.append(f"few_documents: {documents}; under {FEW} many cells stay undecided, label {HELDOUT} a source")
    if reliable < dimensions_min:
        said.append(f"too_few_dimensions: {reliable} are reliable, {dimensions_min} are needed for a mask")
    if found.shared_error:
        surely = found.gain_hi is not None and found.gain_hi < GAIN_MIN
        end = "the student's errors do not average out" if surely else "that its errors average out is not shown"
        said.append(
            f"shared_error: {reliable} dimensions pass, but the kept set gains {found.gain:.2f} of what the teacher's"
            f" does (at least {found.gain_lo:.2f}; {GAIN_MIN:g} is asked for): {end}"
        )
    return said


def left_out(measured: int, sources: Sequence[str], unread: int) -> list[str]:
    """Of a whole group: sources without held-out documents, and documents whose student's reply lacked scores."""
    said = []
    if sources:
        said.append(f"unmeasured: {', '.join(sources)}: no held-out documents, so the whole group's verdicts are used")
    if unread:
        said.append(f"unread: {unread} of {measured + unread} replies lacked scores and are not measured")
    return said


def ceiling_warnings(retest: Retest | None, limits: MaskLimits) -> list[str]:
    """Of the teacher itself: a ceiling that says nothing, and dimensions in which it would not pass its own limits.

    Bounds decide, of enough views; where only the estimate lies beyond a limit (or a table of an earlier version has
    no such bound), it is said to be undecided.
    """
    if retest is None:
        return []
    said = [f"the teacher's ceiling is {retest.note}"] if retest.note else []
    beyond = [
        slot
        for slot, cell in retest.dimensions.items()
        if cell.mae >= limits.mae or (cell.rho is not None and cell.rho <= limits.rho)
    ]
    unsure = [
        slot for slot in beyond if retest.n >= DECIDABLE_CLUSTERS and _surely_beyond(retest.dimensions[slot], limits)
    ]
    open_ = [slot for slot in beyond if slot not in unsure]
    if unsure:
        said.append(
            f"the teacher does not agree with itself in {', '.join(unsure)} (MAE {limits.mae:g} or more, or rho"
            f" {limits.rho:g} or less): no student can be expected to; it is the question that cannot be answered so"
        )
    if open_:
        said.append(
            f"whether the teacher agrees with itself in {', '.join(open_)} is undecided of {retest.n} views judged"
            " twice: more of them (--retest) would tell"
        )
    return said


def _surely_beyond(cell: Ceiling, limits: MaskLimits) -> bool:
    """By the bound that speaks for the teacher."""
    by_mae = cell.mae_lo is not None and cell.mae_lo >= limits.mae
    return by_mae or (cell.rho_hi is not None and cell.rho_hi <= limits.rho)
