"""Two saved runs against one another: ratios with intervals. Pure.

The unit is the repetition, however few there are. Windows of one are none: a closed loop fills and then ends documents
in lumps, so that they differ far more than repetitions do, and what an interval over them is too wide by cannot be
told. Repetitions are parts of one run: what differs from run to run, as what else the machine did, is in no interval,
and `notes` say so. The statistic is the mean over repetitions; beside it stands their median, which is what `bench`
shows of a run by itself. The interval is Student's t on the logarithm of the ratio of means: its variance by the delta
method, degrees of freedom after Welch (1947), no more of them than two sides as small as the smaller one have: with two
repetitions against twenty it held 88 % without that. Simulated from two to fifty repetitions a side, of unequal number
and spread, too, its 95 % are 92 to 99; with five a percentile bootstrap held only 88. Repetitions count as independent.
"""

from collections.abc import Callable, Sequence
from math import exp, sqrt
from statistics import fmean, median, variance
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from scipy.special import stdtrit

from mira_stream.benching.result import Run, Turn, at_once_note
from mira_stream.errors import UsageError

REPETITIONS: Final = 5
"""As many as `bench` takes; with two an interval is four times as wide."""
CONFIDENCE: Final = 0.95
SAME: Final = "A and B are one and the same run: nothing is compared"
PROMPTS_ALIKE: Final = 0.005
"""Of the same documents prompts are as long, but for what a turn repeats of them."""
LOADS_ALIKE: Final = 1.0
"""Load averages within one core's worth of each other are no difference."""


class Ratio(Struct, frozen=True, kw_only=True):
    """B over A, which are means over repetitions. `shown`: the interval does not hold 1, so that these two runs differ;
    why they do is not said by it. A single repetition on a side has no interval: null. `a_median`, `b_median`: over
    repetitions, as in the result of each run."""

    figure: str
    a: float
    b: float
    ratio: float
    low: float | None
    high: float | None
    shown: bool
    a_median: float | None = None
    b_median: float | None = None


class Comparison(Struct, frozen=True, kw_only=True):
    """`dead_letters_a`, `_b`: shares of documents that were not scored; documents/s counts only those that were.
    `differences`: what else the two runs differ in, so that the ratio may not be due to what was meant. `notes`: what
    the intervals do not hold, and what a figure cannot tell."""

    kind: str
    statistic: str
    repetitions_a: int
    repetitions_b: int
    ratios: list[Ratio]
    dead_letters_a: float
    dead_letters_b: float
    differences: list[str]
    notes: list[str]


FIGURES: Final[dict[str, Callable[[Turn], float]]] = {
    "documents_per_s": lambda one: one.documents_per_s,
    "p50_ms": lambda one: one.latency_ms.p50,
    "p95_ms": lambda one: one.latency_ms.p95,
    "p99_ms": lambda one: one.latency_ms.p99,
}


def compare(a: Run, b: Run) -> Comparison:
    """Raises UsageError(bench_kinds, bench_dead): two kinds measure different things, and a run that scored nothing has
    no rate."""
    if a.kind != b.kind:
        raise UsageError("bench_kinds", f"A is a run of {a.kind}, B of {b.kind}", "compare two runs of one kind")
    for name, run in (("A", a), ("B", b)):
        if not any(turn.scored for turn in run.turns):
            raise UsageError("bench_dead", f"none of {name}'s documents was scored", "look at their dead letters")
    ratios = []
    for name, figure in FIGURES.items():
        of_a, of_b = ([figure(turn) for turn in run.turns] for run in (a, b))
        ratios.append(replace(ratio(name, of_a, of_b), a_median=median(of_a), b_median=median(of_b)))
    held = [SAME] if a == b else [_within(min(len(a.turns), len(b.turns)))]
    at_once = {name: at_once_note(run.turns) for name, run in (("A", a), ("B", b))}
    return Comparison(
        kind=a.kind,
        statistic="mean over repetitions",
        repetitions_a=len(a.turns),
        repetitions_b=len(b.turns),
        ratios=ratios,
        dead_letters_a=_dead(a),
        dead_letters_b=_dead(b),
        differences=_differences(a, b),
        notes=[*held, *(f"{name}: {note}" for name, note in at_once.items() if note)],
    )


def _within(repetitions: int) -> str:
    """What the intervals do not hold; `repetitions`: of the side with fewer."""
    held = "the intervals hold how repetitions differ within a run"
    if repetitions == 1:
        held = f"of one repetition there is no interval and nothing is shown (--repeat {REPETITIONS} on both sides)"
    few = f" Of {repetitions} repetitions they are wide, as is right: --repeat {REPETITIONS} gives narrower ones."
    return (
        f"a single run on each side: {held}, and none holds how runs differ from one another (load beside, the"
        f" machine's state, an engine started anew).{few if 1 < repetitions < REPETITIONS else ''} Take both again, in"
        " turn, and see whether B / A stays"
    )


def ratio(figure: str, a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Of the means, which must be positive."""
    mean_a, mean_b = fmean(a), fmean(b)
    found = mean_b / mean_a
    low = high = None
    if min(len(a), len(b)) > 1:
        half = _half_width(a, b)
        low, high = found * exp(-half), found * exp(half)
    shown = low is not None and high is not None and not low <= 1 <= high
    return Ratio(figure=figure, a=mean_a, b=mean_b, ratio=found, low=low, high=high, shown=shown)


def _half_width(a: Sequence[float], b: Sequence[float]) -> float:
    """Of the interval of log(mean b / mean a)."""
    errors = [variance(side) / len(side) / fmean(side) ** 2 for side in (a, b)]
    total = sum(errors)
    if not total:
        return 0.0
    welch = total**2 / sum(error**2 / (len(side) - 1) for error, side in zip(errors, (a, b), strict=True))
    freedom = min(welch, 2 * (min(len(a), len(b)) - 1))
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * sqrt(total)


def _dead(run: Run) -> float:
    return sum(turn.dead_letters for turn in run.turns) / sum(turn.documents for turn in run.turns)


def _differences(a: Run, b: Run) -> list[str]:
    found: list[str] = []
    groups_a, groups_b = _groups(a), _groups(b)
    if groups_a != groups_b:
        sides = " -> ".join(" and ".join(sorted(groups)) for groups in (groups_a, groups_b))
        found.append(f"groups: {sides}: other students and other documents")
    alone = tuple(f"groups.{name}." for name in groups_a ^ groups_b)
    for name in ("machine", "versions", "settings", "load"):
        left, right = _flat(getattr(a, name)), _flat(getattr(b, name))
        keys = sorted((left.keys() | right.keys()) - {"load_average", "memory_free_gib", "groups"})
        keys = [key for key in keys if not key.startswith(alone)]
        found += [
            f"{name}.{key}: {left.get(key)} -> {right.get(key)}" for key in keys if left.get(key) != right.get(key)
        ]
    if a.stand_in != b.stand_in:
        found.append(f"stand_in: {a.stand_in or 'none'} -> {b.stand_in or 'none'}")
    tokens = [run.result.tokens_per_prompt or 0.0 for run in (a, b)]
    if all(tokens) and max(tokens) > (1 + PROMPTS_ALIKE) * min(tokens):
        found.append("tokens a prompt: {} -> {}: other documents, or other prompts".format(*tokens))
    limits = [(run.ramp or {}).get("p99_limit_ms") for run in (a, b)]
    if limits[0] != limits[1]:
        found.append("ramp.p99_limit_ms: {} -> {}".format(*limits))
    loads = [run.machine.get("load_average") for run in (a, b)]
    if not _alike(*loads):
        found.append("machine.load_average: {} -> {} when the runs began".format(*loads))
    return found


def _alike(*loads: float | None) -> bool:
    known = [load for load in loads if load is not None]
    return len(known) < len(loads) or max(known) - min(known) <= LOADS_ALIKE


def _groups(run: Run) -> set[str]:
    groups = run.settings.get("groups")
    return set(groups) if isinstance(groups, dict) else set()


def _flat(table: dict[str, object], before: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat
