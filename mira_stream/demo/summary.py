"""What is said of a stream at its end: counts a source, best and worst documents, the mask's effect. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from mira_stream.errors import DocumentError
from mira_stream.messages import DIMENSIONS, SLOTS, CardPosition, DeadLetter, Decision, Epoch, Mask, Unit
from mira_stream.quality import Lens, judge

UNKNOWN: Final = "(unknown)"
SIGMAS: Final = 2.0
MOVED_LINES: Final = 3


class Source(NamedTuple):
    """What is known of a source beforehand: its group, what it shall retain, and the mask it is judged under."""

    name: str
    group: str
    target: float | None
    unit: Unit
    mask: Mask | None


class SourceSummary(NamedTuple):
    """One row. `band`: by how much `retention_achieved` may miss `retention_target` at this count."""

    name: str
    group: str
    documents: int
    keep: int
    downsample: int
    drop: int
    selected: int
    dead: int
    retention_target: float | None
    retention_achieved: float | None
    band: float | None
    threshold: float | None
    masked: list[str]


class Moved(NamedTuple):
    """A score line and how far it lies from its dimension's mean."""

    slot: str
    name: str
    score: float
    mean: float


class Extreme(NamedTuple):
    """One of the best or worst documents of a group."""

    id: str
    source: str
    quality: float
    decision: str
    moved: list[Moved]


class MaskEffect(NamedTuple):
    """The `kept` best documents under the mask; `same` of them are also the best if all fifteen dimensions count."""

    source: str
    kept: int
    same: int


def expected_band(target: float | None, documents: int) -> float | None:
    """Two standard deviations of the retention rate of `documents` independent draws: 2 sqrt(t (1 - t) / n).

    An upper bound in the long run: every border corrects the target by what is owed.
    """
    if target is None or not documents:
        return None
    return SIGMAS * math.sqrt(target * (1 - target) / documents)


def summarise(
    sources: Iterable[Source],
    decisions: Iterable[Decision],
    dead: Iterable[DeadLetter],
    epochs: Mapping[str, Epoch],
) -> list[SourceSummary]:
    """One row a source, in the given order; dead letters of sources that are not known end in `(unknown)`."""
    known = list(sources)
    names = {source.name for source in known}
    by_source: dict[str, list[Decision]] = {}
    for decision in decisions:
        by_source.setdefault(decision.source, []).append(decision)
    lost = Counter(letter.source if letter.source in names else UNKNOWN for letter in dead)
    rows = [_row(source, by_source.get(source.name, []), lost[source.name], epochs) for source in known]
    if lost[UNKNOWN]:
        nobody = Source(UNKNOWN, "", None, "documents", None)
        rows.append(_row(nobody, [], lost[UNKNOWN], epochs))
    return rows


def _row(source: Source, decisions: Sequence[Decision], dead: int, epochs: Mapping[str, Epoch]) -> SourceSummary:
    verdicts = Counter(decision.decision for decision in decisions)
    epoch = epochs.get(source.name)
    used = None if source.mask is None else frozenset(source.mask.dimensions)
    return SourceSummary(
        name=source.name,
        group=source.group,
        documents=len(decisions) + dead,
        keep=verdicts["keep"],
        downsample=verdicts["downsample"],
        drop=verdicts["drop"],
        selected=sum(decision.selected for decision in decisions),
        dead=dead,
        retention_target=source.target,
        retention_achieved=_retention(decisions, source.unit),
        band=expected_band(source.target, len(decisions)),
        threshold=None if epoch is None or epoch.keep is None else epoch.keep.value,
        masked=[] if used is None else [slot for slot in SLOTS if slot not in used],
    )


def _retention(decisions: Sequence[Decision], unit: Unit) -> float | None:
    weights = [1 if unit == "documents" else decision.tokens for decision in decisions]
    total = sum(weights)
    taken = sum(weight for weight, decision in zip(weights, decisions, strict=True) if decision.selected)
    return taken / total if total else None


def extremes(decisions: Sequence[Decision], count: int, means: Sequence[float], names: Sequence[str]) -> tuple[
    list[Extreme], list[Extreme]
]:  # fmt: skip
    """The `count` best and worst of one group's decisions, with the score lines that lifted or lowered them most."""
    ordered = sorted(decisions, key=lambda decision: (-decision.quality, decision.id))
    best = [_extreme(decision, lifted(decision, means, names)) for decision in ordered[:count]]
    last = reversed(ordered[len(best) :][-count:])
    worst = [_extreme(decision, lowered(decision, means, names)) for decision in last]
    return best, worst


def lifted(decision: Decision, means: Sequence[float], names: Sequence[str]) -> list[Moved]:
    """The used dimensions whose scores lie farthest above their means, the farthest first; none from below."""
    lines = [line for line in _lines(decision, means, names) if line.score > line.mean]
    return sorted(lines, key=lambda line: line.mean - line.score)[:MOVED_LINES]


def lowered(decision: Decision, means: Sequence[float], names: Sequence[str]) -> list[Moved]:
    """The used dimensions whose scores lie farthest below their means, the farthest first; none from above."""
    lines = [line for line in _lines(decision, means, names) if line.score < line.mean]
    return sorted(lines, key=lambda line: line.score - line.mean)[:MOVED_LINES]


def _lines(decision: Decision, means: Sequence[float], names: Sequence[str]) -> list[Moved]:
    used = frozenset(decision.dimensions_used)
    return [
        Moved(slot, names[i], score, means[i])
        for i, (slot, score) in enumerate(zip(SLOTS, decision.scores, strict=True))
        if slot in used and score is not None
    ]


def _extreme(decision: Decision, lines: list[Moved]) -> Extreme:
    return Extreme(decision.id, decision.source, decision.quality, decision.decision, lines)


def mask_effect(source: str, decisions: Sequence[Decision], through: Lens) -> MaskEffect:
    """What the choice of dimensions alone changes: as many documents as were selected, ranked exactly both times,
    by the quality under the mask and by the quality with the same means and trim of all fifteen dimensions."""
    count = sum(decision.selected for decision in decisions)
    chosen = _best(decisions, count, through)
    without = _best(decisions, count, through._replace(used=tuple(range(DIMENSIONS))))
    return MaskEffect(source, len(chosen), len(chosen & without))


def _best(decisions: Sequence[Decision], count: int, through: Lens) -> set[CardPosition]:
    ordered = sorted(decisions, key=lambda decision: (-_cell(decision, through), decision.id))
    return {decision.card for decision in ordered[:count]}


def _cell(decision: Decision, through: Lens) -> int:
    """A document that was decided under an older mask and has too few of this mask's scores comes last."""
    try:
        return judge(decision.scores, through).cell
    except DocumentError:
        return -1
