"""When thresholds move, where they move to, and what they make of one document.

Thresholds move only at borders. At a border the target is corrected by what is owed so far:

    target_corrected = clip(target + (due - selected) / (min(H, max(25, n)) x mean weight), 0, 1)
    b = min(band, 2 t, 2 (1 - t)) of t = target_corrected

and `keep` and `drop` are the sketch's marks at the upper-tail shares t - b/2 and t + b/2.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from mira_stream.chance import u
from mira_stream.messages import SLOTS, Mark, Unit, Verdict
from mira_stream.sketch import PRIOR_DOCUMENTS, Sketch

BORDER_CARDS_MIN: Final = 10
BORDER_CARDS_MAX: Final = 100
BAND_SELECTED: Final = 0.5
"""Share of the documents between the marks that is selected."""

Basis = Literal["prior", "source", "group", "global", "cold_hash"]
Seen = Literal["source", "group", "global"]
"""Whose cards a sketch has seen."""


class Thresholds(NamedTuple):
    """What a border found. Marks are None while `basis` is cold_hash."""

    basis: Basis
    weight: float
    keep: Mark | None
    drop: Mark | None


class Outcome(NamedTuple):
    decision: Verdict
    selected: bool
    reason: str


def count_border(n: int, since_border: int) -> bool:
    """Whether the cards since the last border are enough for a new one; n: cards the state has decided."""
    return since_border >= min(BORDER_CARDS_MAX, max(BORDER_CARDS_MIN, n // 2))


def correct_target(target: float, owed: float, n: int, mean_weight: float, horizon: int) -> float:
    """The target that pays `owed` (due - selected, in the policy's unit) back over the horizon; in [0, 1]."""
    if mean_weight <= 0.0:
        return target
    span = min(horizon, max(PRIOR_DOCUMENTS, n))
    return min(1.0, max(0.0, target + owed / (span * mean_weight)))


def thresholds(
    sketch: Sketch, unit: Unit, n: int, target_corrected: float, band: float, seen: Seen = "source"
) -> Thresholds:
    """The marks for a corrected target. Cold is a sketch without prior that has seen fewer than ten cards,
    or one without weight in the unit."""
    weight = sketch.weight(unit)
    bare = n < BORDER_CARDS_MIN and sketch.weight("documents") <= n
    if bare or weight <= 0.0:
        return Thresholds("cold_hash", weight, None, None)
    t = target_corrected
    b = min(band, 2 * t, 2 * (1 - t))
    keep, drop = sketch.upper_tail(t - b / 2, unit), sketch.upper_tail(t + b / 2, unit)
    return Thresholds(seen if n >= BORDER_CARDS_MIN else "prior", weight, keep, drop)


def is_above(mark: Mark, quality: float, document_id: str) -> bool:
    """Above is `quality > value`, or equal with luck."""
    return quality > mark.value or (quality == mark.value and u("tie", document_id) < mark.tie_fraction)


def undercut(scores: Sequence[float | None], floors: Mapping[str, float]) -> str | None:
    """The floor that a document does not stand on: the first slot whose score lies under it, else the first whose score
    was not read, as `A11:unread`: what nobody knows passes no floor."""
    if not floors:
        return None
    unread: str | None = None
    for slot, score in zip(SLOTS, scores, strict=True):
        floor = floors.get(slot)
        if floor is None:
            continue
        if score is None:
            unread = unread or f"{slot}:unread"
        elif score < floor:
            return slot
    return unread


def decide(
    document_id: str,
    quality: float,
    scores: Sequence[float | None],
    floors: Mapping[str, float],
    keep: Mark | None,
    drop: Mark | None,
    target_corrected: float,
) -> Outcome:
    """The decision on one document under the thresholds in force."""
    slot = undercut(scores, floors)
    if slot is not None:
        return Outcome("drop", False, f"floor:{slot}")
    if keep is None or drop is None:
        return Outcome("downsample", u("cold", document_id) < target_corrected, "cold_hash")
    if is_above(keep, quality, document_id):
        return Outcome("keep", True, "above")
    if not is_above(drop, quality, document_id):
        return Outcome("drop", False, "below")
    return Outcome("downsample", u("band", document_id) < BAND_SELECTED, "band")
