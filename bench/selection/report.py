"""The tables and the picture of the selection benchmark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEANING = (
    "Measured here: whether planted defects are turned away, and how faithfully students follow their teacher. It is"
    " no benchmark of a 14 B model trained on what is kept, and the teacher is a stand-in that measures features."
)
STAND_IN = (
    "fixed-rubric-14:featurejudge stands in for a fixed rubric: the judge's first 14 text dimensions for all groups,"
    " asked of the judge itself; DataMan's own criteria need a model that understands them."
)


def show(result: Mapping[str, Any]) -> None:
    """Print everything that was found, what was missed too."""
    print(f"\n{'arm':30}{'precision':>10}{'recall':>8}{'bits/byte':>11}{'|rho length|':>14}")
    for name, arm in sorted(result["arms"].items(), key=lambda pair: -pair[1]["precision"]):
        print(f"{name:30}{arm['precision']:10.3f}{arm['recall']:8.3f}{arm['bits_a_byte']:11.3f}{arm['length']:14.2f}")
    print(MEANING)
    print(STAND_IN)
    _show_bits(result["arms"])
    print("\nprimary comparisons (precision of clean tokens; 95 % t interval over seeds; Holm)")
    for name, one in result["comparisons"].items():
        precision, bits, p = one["precision"], one["bits_a_byte"], one["p_holm"]
        print(
            f"{name:34}{precision['mean']:+.3f} [{precision['low']:+.3f}, {precision['high']:+.3f}] p {p:.4f}"
            f"   bits/byte {bits['mean']:+.3f} [{bits['low']:+.3f}, {bits['high']:+.3f}]"
        )
    _show_defects(result["defects"], result["defect_means"])
    for reason, names in result["why"].items():
        print(f"{reason} ({len(names)} of {len(result['defects'])}): {', '.join(names) or 'none'}")
    print(f"\n{'decoy (move of quality, points)':34}    mean  95 % interval")
    for name, one in result["decoys"].items():
        print(f"{name:34}{one['mean']:+8.1f} [{one['low']:+.1f}, {one['high']:+.1f}] {one['verdict']}")
    print("\nexecuted truth: area under the curve, 0.5 is chance (95 % interval, resampled by function)")
    for group, one in result["executed"].items():
        print(f"{group}: {one['good']} right, {one['bad']} wrong")
        for name, auc in one["auc"].items():
            print(f"  {name:32}{auc['area']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}]")
    mask = result["mask"]
    print(f"\nmask on {mask['cells']} planted cells: precision {mask['precision']:.3f}, recall {mask['recall']:.3f}")
    for name, met in result["goals"].items():
        print(f"{'met   ' if met else 'missed'}  {name}")
    print("seconds: " + ", ".join(f"{part} {seconds:.0f}" for part, seconds in result["seconds"].items()))


def _show_bits(arms: Mapping[str, Any]) -> None:
    sources = list(arms["oracle"]["bits_by_source"])
    print("\nbits a byte of good documents by source, after training on what each arm kept")
    print(f"{'arm':30}" + "".join(f"{source[:13]:>14}" for source in sources))
    for name, arm in sorted(arms.items(), key=lambda pair: pair[1]["bits_a_byte"]):
        print(f"{name:30}" + "".join(f"{arm['bits_by_source'][source]:14.3f}" for source in sources))


def _show_defects(defects: Mapping[str, Any], means: Mapping[str, Mapping[str, float]]) -> None:
    scorers = list(means["open"])
    print("\nKendall tau of level and score: 1 every step down is seen, 0 none, under 0 the worse the higher")
    print(f"{'defect':34}" + "".join(f"{name[:10]:>11}" for name in scorers) + f"{'n':>5}")
    for name, one in defects.items():
        row = "".join(f"{one['tau'][scorer]['mean']:11.2f}" for scorer in scorers)
        print(f"{name:34}{row}{one['documents']:5}{'  held back' if one['held_back'] else ''}")
    for kind, mean in means.items():
        print(f"{'mean, ' + kind.replace('_', ' '):34}" + "".join(f"{mean[scorer]:11.2f}" for scorer in scorers))


def plot(path: Path, result: Mapping[str, Any]) -> None:
    """Precision by arm, and Kendall's tau by defect."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    arms = sorted(result["arms"].items(), key=lambda pair: pair[1]["precision"])
    left.barh([name for name, _ in arms], [arm["precision"] for _, arm in arms], color="#4c78a8")
    left.axvline(result["arms"]["random"]["precision"], color="grey", linewidth=1, label="random")
    left.legend()
    left.set_xlabel("share of clean tokens among those kept")
    names = list(result["defects"])
    taus = [result["defects"][name]["tau"] for name in names]
    right.scatter([tau["mira"]["mean"] for tau in taus], names, label="mira", color="#4c78a8")
    right.scatter([tau["teacher"]["mean"] for tau in taus], names, label="teacher", marker="x", color="#e45756")
    right.axvline(0, color="grey", linewidth=1)
    right.set_xlabel("Kendall tau of level and quality (1: every step is seen)")
    right.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
