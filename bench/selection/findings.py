"""From raw outcomes to what is printed: tables, goals met or missed, one JSON object."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from bench.selection.arms import PRIMARY
from bench.selection.decoys import DECOYS
from bench.selection.defects import held_back
from bench.selection.planted_cells import MaskQuality
from bench.selection.pool import Known
from bench.selection.statistics import Interval, auc, holm, kendall, paired
from bench.selection.work import Outcome

TOLERANCE: Final = 2.0
"""Points of quality by which a decoy may move the mean without being noticed."""
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


def defect_table(known: Sequence[Known], student: np.ndarray, teacher: np.ndarray) -> dict[str, dict[str, Any]]:
    """Kendall's tau of level and quality by group and defect, means over documents; held-back defects are marked."""
    back = set(held_back())
    found: dict[str, dict[str, Any]] = {}
    index = {(one.base, one.defect, one.level): place for place, one in enumerate(known)}
    for group, defect in sorted({(one.group, one.defect) for one in known if one.defect}):
        bases = sorted({one.base for one in known if (one.group, one.defect) == (group, defect)})  # where it applies
        taus: dict[str, list[float]] = {"student": [], "teacher": []}
        for base in bases:
            rungs = [index[base, "", 0]] + [index[base, defect, level] for level in range(1, 6)]
            taus["student"].append(kendall(range(6), student[rungs]))
            taus["teacher"].append(kendall(range(6), teacher[rungs]))
        means = {name: float(np.mean(values)) for name, values in taus.items()}
        found[f"{group}/{defect}"] = {**means, "held_back": defect in back, "documents": len(bases)}
    return found


def decoy_table(known: Sequence[Known], quality: np.ndarray, base_quality: Mapping[str, float]) -> dict[str, Any]:
    """Mean move of quality against the good document it was made of, and whether it may move so."""
    found = {}
    for group, defect in sorted({(one.group, one.defect) for one in known}):
        moves = [
            float(value) - base_quality[one.base]
            for one, value in zip(known, quality, strict=True)
            if (one.group, one.defect) == (group, defect)
        ]
        move, name = paired(moves), defect.removeprefix("decoy:")
        expected = next(decoys[name][1] for decoys in DECOYS.values() if name in decoys)
        unmoved = (move.mean <= TOLERANCE or expected.may_rise) and (move.mean >= -TOLERANCE or expected.may_fall)
        found[f"{group}/{name}"] = {**_interval(move), "goal_met": bool(unmoved)}
    return found


def executed_table(
    known: Sequence[tuple[Known, bool]], scores: Mapping[str, np.ndarray]
) -> dict[str, dict[str, dict[str, float]]]:
    """AUC and its standard error by group and scorer: right code against faulty, solved episodes against others."""
    groups = sorted({one.group for one, _ in known})
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group in groups:
        places = [index for index, (one, _) in enumerate(known) if one.group == group]
        good = [known[index][1] for index in places]
        found[group] = {}
        for name, values in scores.items():
            area, error = auc(values[places], good)
            found[group][name] = {"auc": area, "standard_error": error}
        found[group]["documents"] = {"good": float(sum(good)), "bad": float(len(good) - sum(good))}
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
