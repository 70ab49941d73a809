"""From raw outcomes to what is printed: tables, goals met or missed, one JSON object."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from bench.selection.arms import PRIMARY
from bench.selection.decoys import DECOYS
from bench.selection.defects import LEVELS, held_back
from bench.selection.planted_cells import MaskQuality
from bench.selection.pool import Known
from bench.selection.statistics import Interval, auc, holm, kendall, paired
from bench.selection.work import Outcome

Scorers = Mapping[str, Mapping[str, float]]
"""Scores by scorer and document id, higher is better."""
TOLERANCE: Final = 2.0
"""Points of quality by which a decoy may move the mean without being noticed."""
SEEN_MIN: Final = 0.2
"""Kendall's tau from which on a defect counts as seen."""
REWARDED: Final = "the judge scores the worse higher"
UNSEEN: Final = "the judge does not see it"
LOST: Final = "the judge sees it, the student does not"
SEEN: Final = "both see it"
LENGTH_GOAL: Final = 0.1
MASK_GOAL: Final = 0.95


def arm_table(seeds: Sequence[Mapping[str, Outcome]]) -> dict[str, dict[str, Any]]:
    """Means over seeds by arm. `length`: |rho| of score and length a source, of the mean over seeds: the size of two
    dozen rhos of pure chance would be 0.2 each."""
    found: dict[str, dict[str, Any]] = {}
    for name in seeds[0]:
        own = [seed[name] for seed in seeds]
        bits = {source: float(np.mean([one.bits[source] for one in own])) for source in own[0].bits}
        found[name] = {
            "precision": float(np.mean([one.precision for one in own])),
            "recall": float(np.mean([one.recall for one in own])),
            "bits_a_byte": float(np.mean(list(bits.values()))),
            "bits_by_source": bits,
            "length": float(np.mean([abs(np.mean([one.length[name] for one in own])) for name in bits])),
        }
    return found


def comparisons(seeds: Sequence[Mapping[str, Outcome]]) -> dict[str, dict[str, Any]]:
    """The primary arm against the two named beforehand (Holm over both), and in bits a byte for information."""
    first, *others = PRIMARY
    precision = [paired([seed[first].precision - seed[other].precision for seed in seeds]) for other in others]
    bits = [paired([_bits(seed[first]) - _bits(seed[other]) for seed in seeds]) for other in others]
    adjusted = holm([one.p for one in precision])
    return {
        f"{first} - {other}": {
            "precision": _interval(one),
            "p_holm": p,
            "goal_met": one.low > 0,
            "bits_a_byte": _interval(two),
        }
        for other, one, two, p in zip(others, precision, bits, adjusted, strict=True)
    }


def defect_table(known: Sequence[Known], scorers: Scorers) -> dict[str, dict[str, Any]]:
    """Kendall's tau of level and score by group and defect, means over the documents it applies to, by scorer."""
    back = set(held_back())
    index = {(one.base, one.defect, one.level): one.document.id for one in known}
    found: dict[str, dict[str, Any]] = {}
    for group, defect in sorted({(one.group, one.defect) for one in known if one.defect}):
        bases = sorted({one.base for one in known if (one.group, one.defect) == (group, defect)})
        rungs = [[index[base, defect if level else "", level] for level in range(LEVELS + 1)] for base in bases]
        taus = {
            name: paired([kendall(range(LEVELS + 1), [scores[one] for one in own]) for own in rungs])
            for name, scores in scorers.items()
        }
        found[f"{group}/{defect}"] = {
            "tau": {name: _interval(one) for name, one in taus.items()},
            "held_back": defect in back,
            "documents": len(bases),
        }
    return found


def defect_means(defects: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean tau by scorer over the defects that may be tuned on, and over those held back."""
    kinds = {"open": False, "held_back": True}
    own = {kind: [one["tau"] for one in defects.values() if one["held_back"] is back] for kind, back in kinds.items()}
    return {
        kind: {name: float(np.mean([tau[name]["mean"] for tau in taus])) for name in taus[0]}
        for kind, taus in own.items()
    }


def why(defects: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Where a goal is missed, whose fault it is: the judge's, that does not see a defect, or the student's, that does
    not follow the judge where it does."""
    found: dict[str, list[str]] = {REWARDED: [], UNSEEN: [], LOST: [], SEEN: []}
    for name, one in defects.items():
        teacher, student = one["tau"]["teacher"]["mean"], one["tau"]["mira"]["mean"]
        if teacher < SEEN_MIN:
            found[REWARDED if teacher < -SEEN_MIN else UNSEEN].append(name)
        else:
            found[LOST if student < SEEN_MIN else SEEN].append(name)
    return found


def decoy_table(known: Sequence[Known], quality: Mapping[str, float], good: Mapping[str, float]) -> dict[str, Any]:
    """Mean move of quality against the good documents it is as good as, and whether it may move so.

    `good`: qualities by id of the good document. Three verdicts: `as it should` if the whole 95 % interval is where it
    may be, `moved` if none of it is, else `undecided`.
    """
    found = {}
    for group, defect in sorted({(one.group, one.defect) for one in known}):
        own = [one for one in known if (one.group, one.defect) == (group, defect)]
        move = paired([quality[one.document.id] - float(np.mean([good[like] for like in one.like])) for one in own])
        name = defect.removeprefix("decoy:")
        expected = next(decoys[name][1] for decoys in DECOYS.values() if name in decoys)
        least = -np.inf if expected.may_fall else -TOLERANCE
        most = np.inf if expected.may_rise else TOLERANCE
        inside, outside = least <= move.low and move.high <= most, move.high < least or move.low > most
        verdict = "as it should" if inside else "moved" if outside else "undecided"
        found[f"{group}/{name}"] = {**_interval(move), "documents": len(own), "verdict": verdict}
    return found


def executed_table(known: Sequence[tuple[Known, bool]], scorers: Scorers) -> dict[str, dict[str, Any]]:
    """AUC and its 95 % interval by group and scorer: code that passes its tests against code that does not, solved
    episodes against others; resampled by function."""
    found: dict[str, dict[str, Any]] = {}
    for group in sorted({one.group for one, _ in known}):
        own = [(one, good) for one, good in known if one.group == group]
        good = [is_good for _, is_good in own]
        clusters = [one.base for one, _ in own]
        areas = {
            name: auc([scores[one.document.id] for one, _ in own], good, clusters)._asdict()
            for name, scores in scorers.items()
        }
        found[group] = {"auc": areas, "good": sum(good), "bad": len(good) - sum(good)}
    return found


def goals(arms: Mapping[str, Mapping[str, Any]], compared: Mapping[str, Any], mask: MaskQuality) -> dict[str, bool]:
    """The goals set beforehand, met or missed."""
    return {
        **{f"{name}: interval over 0": bool(one["goal_met"]) for name, one in compared.items()},
        f"|rho of quality and length| <= {LENGTH_GOAL}": arms[PRIMARY[0]]["length"] <= LENGTH_GOAL,
        f"mask precision >= {MASK_GOAL}": mask.precision >= MASK_GOAL,
        f"mask recall >= {MASK_GOAL}": mask.recall >= MASK_GOAL,
    }


def _bits(outcome: Outcome) -> float:
    return float(np.mean(list(outcome.bits.values())))


def _interval(one: Interval) -> dict[str, float]:
    return {"mean": one.mean, "low": one.low, "high": one.high, "p": one.p}
