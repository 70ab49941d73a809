"""From a reliability table to the mask of a source: which dimensions count, how they are centred, and the prior."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import orjson
from msgspec.structs import replace

from mira_stream.errors import ConfigError, DocumentError
from mira_stream.messages import DIMENSIONS, SLOTS, Mask, Prior
from mira_stream.quality import Lens, judge, lens
from mira_stream.reliability.table import ModeReliability
from mira_stream.sections import MaskSection

MASK_HEX: Final = 12
PRIOR_ROWS_MIN: Final = 25
"""With fewer held-out cards a source's prior has the shape of its whole group."""

Scores = Sequence[float | None]


class HeldOut(NamedTuple):
    """The student's scores of documents it was not trained on, by source."""

    by_source: dict[str, list[Scores]]

    @property
    def all(self) -> list[Scores]:
        return [scores for rows in self.by_source.values() for scores in rows]


class Measured(NamedTuple):
    """A group's reliability in the mode it runs in, and its held-out cards."""

    reliability: ModeReliability
    table_sha256: str
    held_out: HeldOut


def mask_hash(dimensions: Sequence[str], means: Sequence[float], trim: float) -> str:
    """12 hex digits: with the lineage they say what a quality means."""
    meaning = {"dimensions": list(dimensions), "means": list(means), "trim": trim}
    return sha256(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS)).hexdigest()[:MASK_HEX]


def mask_of(
    source: str,
    group: str,
    lineage: str,
    measured: Measured | None,
    settings: MaskSection,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> Mask:
    """The mask of one source; a source that was not measured has its group's verdicts. `add` and `remove` are what a
    person lets count beside, or takes out, whatever was measured.

    Without measurements all dimensions count, uncentred, without prior. Raises ConfigError(too_few_dimensions).
    """
    reliability = None if measured is None else measured.reliability
    reliable = SLOTS if reliability is None else reliability.of(source).reliable
    dimensions = tuple(slot for slot in SLOTS if (slot in reliable or slot in add) and slot not in remove)
    means = [0.0] * DIMENSIONS if reliability is None else list(reliability.means)
    if len(dimensions) < settings.dimensions_min:
        raise ConfigError(
            "too_few_dimensions",
            f"the student of group {group} is reliable in {len(dimensions)} dimensions for source {source!r}"
            f" ({', '.join(dimensions) or 'none'}); at least {settings.dimensions_min} must be",
            "move the source to a group that fits it, train the student on more of its labels, or remove the source",
        )
    mask = Mask(
        mask=mask_hash(dimensions, means, settings.trim),
        group=group,
        source=source,
        lineage=lineage,
        dimensions=list(dimensions),
        means=means,
        trim=settings.trim,
        reliability_sha256="" if measured is None else measured.table_sha256,
        dimensions_min=settings.dimensions_min,
    )
    return mask if measured is None else replace(mask, prior=prior_for(source, measured.held_out, lens(mask)))


def prior_of(rows: Sequence[Scores], through: Lens) -> Prior | None:
    """How the qualities of these cards are spread; None if none has one. Labels do not say tokens."""
    cells: Counter[int] = Counter()
    for scores in rows:
        try:
            cells[judge(scores, through).cell] += 1
        except DocumentError:
            continue  # a card without a quality has no place in their spread
    if not cells:
        return None
    return Prior(cells={str(cell): float(count) for cell, count in cells.items()}, documents=cells.total(), tokens=0)


def prior_for(source: str, held_out: HeldOut, through: Lens) -> Prior | None:
    """The prior of a source: in the shape of its own held-out cards, or its group's if there are too few."""
    own = held_out.by_source.get(source, [])
    return prior_of(own if len(own) >= PRIOR_ROWS_MIN else held_out.all, through)
