"""Does each source keep the share it was asked to keep, and the right documents?

Synthetic score cards through the real Selector: fifteen whole scores round a document's level, a prior of 200 held-out
cards, targets between 0.2 and 0.7 by source, band 0 unless said.

  stationary   the level's distribution never moves (standard deviation 1.5 points)
  ties         fifteen equal whole scores: some ten different qualities in all
  tokens       unit tokens; lengths log-normal (sigma 1.2) and a little longer where the quality is higher
  step, ramp   half way the level jumps by one standard deviation; it climbs by one and a half from start to end
  band         band 0.1: the class (keep, downsample, drop) is compared, not `selected`
  thousand     stationary, 1,000 sources in one Selector
  new          the first 200 documents of sources half a standard deviation off the group whose prior they begin from

`error` is |selected / decided - target| in percentage points of the policy's unit. Stationary streams are compared with
the exact offline selection of the whole stream; step and ramp with a windowed oracle, the exact quantile at every card,
in both readings of "the same window": `flat`, the last 1,500 cards (what the sketch weighs on average), and `fading`,
the very weights of the sketch (all halved every 1,000 cards). Goals hold for both, of 10,000 documents a source: fewer
leave more to chance, and what is missed then says so. The last line is one JSON object.

    python bench/retention_accuracy.py --seeds 3
"""

import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command.arguments import Parser, at_least, positive
from bench.command.ending import program
from bench.command.last_line import last_line
from bench.retaining.comparing import agreement, windowed
from bench.retaining.deciding import HELD_OUT, run
from bench.retaining.streams import KINDS, THOUSAND, Kind, make

DOCUMENTS_MIN: Final = 2_000
GOALS_OF: Final = 10_000
"""Documents of each source: the goals are stated for so many."""


def measure(kind: Kind, sources: int, documents: int, seed: int) -> dict[str, float]:
    """One row of one seed."""
    random = np.random.default_rng([seed, sum(kind.shape.encode())])
    names = [f"{kind.shape}-{seed}-{number}" for number in range(sources)]
    targets = {name: round(float(random.uniform(0.2, 0.7)), 3) for name in names}
    streams = {name: make(kind.shape, documents, random) for name in names}
    start = "stationary" if kind.shape in ("step", "ramp") else kind.shape
    priors = {name: make(start, HELD_OUT, random) for name in names}
    outcomes = dict(zip(names, run(kind, streams, priors, targets), strict=True))
    errors = [outcome.error(kind.unit) for outcome in outcomes.values()]
    shares = [agreement(kind, outcome, priors[name]) for name, outcome in outcomes.items()]
    row = {
        "error_mean": _mean(errors),
        "error_most": max(errors),
        "agree_mean": _mean(shares),
        "agree_least": min(shares),
    }
    if kind.oracle == "windowed":
        flat = [
            float((windowed(outcome, priors[name], flat=True) == outcome.selected).mean())
            for name, outcome in outcomes.items()
        ]
        row["flat_mean"], row["flat_least"] = _mean(flat), min(flat)
    return row


def newcomers(sources: int, documents: int, seed: int) -> list[float]:
    """Errors (points) over the first documents of sources half a standard deviation off their group."""
    random = np.random.default_rng([seed, 99])
    names = [f"new-{seed}-{number}" for number in range(sources)]
    targets = {name: round(float(random.uniform(0.2, 0.7)), 3) for name in names}
    streams = {name: make("stationary", documents, random, 0.5 if at % 2 else -0.5) for at, name in enumerate(names)}
    group = make("stationary", HELD_OUT, random)
    outcomes = run(Kind("new", "stationary"), streams, dict.fromkeys(names, group), targets)
    return [outcome.error("documents") for outcome in outcomes]


def goals(kind: Kind, row: dict[str, float]) -> list[dict[str, object]]:
    """Each goal of a row, its figure, and whether it is met."""
    wanted = (
        ("error_most", kind.error, False),
        ("agree_mean", kind.mean, True),
        ("agree_least", kind.each, True),
        ("flat_least", kind.each if kind.oracle == "windowed" else None, True),
    )
    return [
        {"goal": name, "limit": limit, "figure": row[name], "met": row[name] >= limit if more else row[name] <= limit}
        for name, limit, more in wanted
        if limit is not None
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _joined(rows: list[dict[str, float]]) -> dict[str, float]:
    """Several seeds as one row: means of means, worst of worst."""
    joined: dict[str, float] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        joined[name] = (
            max(values) if name.endswith("most") else min(values) if name.endswith("least") else _mean(values)
        )
    return joined


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--sources", type=positive, default=8, help="of each kind and seed")
    parser.add_argument("--documents", type=at_least(DOCUMENTS_MIN), default=GOALS_OF, help="of each source")
    parser.add_argument("--many", type=at_least(0), default=1_000, help="sources of the last kind (0: leave it out)")
    parser.add_argument("--new", type=positive, default=200, help="new sources a seed")
    asked = parser.parse_args()
    results: dict[str, object] = {}
    print(f"{'stream':26} {'error mean':>10} {'most':>6} {'agree mean':>11} {'least':>7} {'flat':>7}  goals")
    kinds = [(kind, asked.sources, range(asked.seeds)) for kind in KINDS]
    kinds += [(THOUSAND, asked.many, range(1))] if asked.many else []
    missed = 0
    for kind, sources, seeds in kinds:
        started = time.monotonic()
        row = _joined([measure(kind, sources, asked.documents, seed) for seed in seeds])
        said = goals(kind, row)
        missed += sum(not one["met"] for one in said)
        _print(kind.name, row, said, asked.documents)
        results[kind.name] = {**row, "goals": said, "seconds": round(time.monotonic() - started, 1)}
    errors = [error for seed in range(asked.seeds) for error in newcomers(asked.new, 200, seed)]
    found = {"error_mean": _mean(errors), "error_p95": float(np.quantile(errors, 0.95))}
    said = [
        {"goal": name, "limit": limit, "figure": found[name], "met": found[name] <= limit}
        for name, limit in (("error_mean", 3.0), ("error_p95", 8.0))
    ]
    missed += sum(not one["met"] for one in said)
    figures = f"{found['error_mean']:10.2f} p95 {found['error_p95']:.2f}"
    print(f"{'new, first 200 documents':26} {figures}  {_said(said, GOALS_OF)}")
    results["new source"] = {**found, "goals": said}
    last_line(
        {
            "documents": asked.documents,
            "goals_of": GOALS_OF,
            "seeds": asked.seeds,
            "missed": missed,
            "streams": results,
        }
    )
    return 1 if missed else 0


def _print(name: str, row: dict[str, float], said: list[dict[str, object]], documents: int) -> None:
    flat = f"{100 * row['flat_mean']:6.2f}%" if "flat_mean" in row else f"{'':7}"
    print(
        f"{name:26} {row['error_mean']:10.3f} {row['error_most']:6.3f} {100 * row['agree_mean']:10.2f}%"
        f" {100 * row['agree_least']:6.2f}% {flat}  {_said(said, documents)}",
        flush=True,
    )


def _said(goals_of_row: list[dict[str, object]], documents: int) -> str:
    missed = any(not one["met"] for one in goals_of_row)
    of = f" (goals of {GOALS_OF:,} documents)" if missed and documents != GOALS_OF else ""
    return ", ".join(f"{one['goal']} {'met' if one['met'] else 'MISSED'}" for one in goals_of_row) + of


if __name__ == "__main__":
    program(main)
