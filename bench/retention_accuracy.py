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
the very weights of the sketch (all halved every 1,000 cards). Goals hold for both. The last line is one JSON object.

    python bench/retention_accuracy.py --seeds 3
"""

import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command.arguments import Parser, at_least, positive
from bench.command.ending import program
from mira_stream.chance import u
from mira_stream.epochs import is_above
from mira_stream.messages import DIMENSIONS, SLOTS, Decision, Mark, Mask, Origin, Policy, Prior, ScoreCard, Unit, encode
from mira_stream.quality import judge, lens
from mira_stream.records import Record
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.selector import Selector
from mira_stream.sketch import HALVING_CARDS, Sketch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GROUP, LINEAGE = "text", "0123456789ab"
SD: Final = 1.5
"""Standard deviation of a document's level, in score points."""
FLAT_WINDOW: Final = 1_500
DOCUMENTS_MIN: Final = 2_000
HELD_OUT: Final = 200
RUN: Final = 500
"""Cards of one source in a row, where many sources share a Selector."""
CLASSES: Final = {"drop": 0, "downsample": 1, "keep": 2}


class Kind(NamedTuple):
    """One row of the table and its goals: error (points) and agreement (shares), `each` for the worst source."""

    name: str
    shape: str
    unit: Unit = "documents"
    horizon: int = 500
    band: float = 0.0
    oracle: str = "offline"
    error: float | None = None
    mean: float | None = None
    each: float | None = None


KINDS: Final = (
    Kind("stationary", "stationary", error=0.5, mean=0.98, each=0.97),
    Kind("ties", "ties", error=0.5, mean=0.98, each=0.97),
    Kind("tokens", "tokens", unit="tokens", error=0.6, mean=0.96, each=0.96),
    Kind("band 0.1", "stationary", band=0.1),
    Kind("step", "step", oracle="windowed", error=0.6, each=0.94),
    Kind("ramp", "ramp", oracle="windowed", error=0.6, each=0.94),
    Kind("step, horizon 5,000", "step", horizon=5_000, oracle="windowed", each=0.97),
    Kind("ramp, horizon 5,000", "ramp", horizon=5_000, oracle="windowed", each=0.97),
    Kind("stationary, horizon 5,000", "stationary", horizon=5_000),
)
THOUSAND: Final = Kind("1,000 sources", "stationary", error=0.5, mean=0.98, each=0.97)


class Stream(NamedTuple):
    """What a source sends: scores [n, 15] and tokens [n]."""

    scores: NDArray[np.int8]
    tokens: Ints


class Outcome(NamedTuple):
    """What became of a source's documents, in order."""

    name: str
    target: float
    tokens: Ints
    cells: NDArray[np.int16]
    selected: NDArray[np.bool_]
    classes: NDArray[np.int8]

    @classmethod
    def of(cls, name: str, target: float, stream: Stream) -> "Outcome":
        count = len(stream.tokens)
        return cls(
            name,
            target,
            stream.tokens,
            np.zeros(count, np.int16),
            np.zeros(count, np.bool_),
            np.zeros(count, np.int8),
        )

    @property
    def ids(self) -> list[str]:
        return [f"{self.name}-{at}" for at in range(len(self.tokens))]

    def note(self, at: int, decision: Decision) -> None:
        self.cells[at] = round(decision.quality * 10)
        self.selected[at] = decision.selected
        self.classes[at] = CLASSES[decision.decision]

    def weights(self, unit: Unit) -> Ints:
        return np.ones_like(self.tokens) if unit == "documents" else self.tokens

    def error(self, unit: Unit) -> float:
        """|selected / decided - target| in percentage points."""
        weights = self.weights(unit)
        return 100 * abs(float(weights[self.selected].sum()) / float(weights.sum()) - self.target)


def make(shape: str, count: int, random: np.random.Generator, shift: float = 0.0) -> Stream:
    """`shift`: how far the source lies off the group, in standard deviations."""
    at = np.linspace(0.0, 1.0, count)
    drift = {"step": (at >= 0.5) * 1.0, "ramp": at * 1.5}.get(shape, np.zeros(count))
    level = 5.5 + SD * (random.normal(size=count) + drift + shift)
    spread = 0.0 if shape == "ties" else 1.0
    scores = np.clip(np.rint(level[:, None] + spread * random.normal(size=(count, DIMENSIONS))), 1, 10)
    tokens = np.full(count, 700)
    if shape == "tokens":
        tokens = np.exp(6.3 + 0.1 * level + 1.2 * random.normal(size=count)).astype(np.int64)
    return Stream(scores.astype(np.int8), np.clip(tokens, 1, 32_768))


def run(kind: Kind, streams: dict[str, Stream], priors: dict[str, Stream], targets: dict[str, float]) -> list[Outcome]:
    """Every stream through one Selector, in turns."""
    log = PolicyLog()
    asked = Policy(unit=kind.unit, band=kind.band, horizon_documents=kind.horizon)
    log.add(_record(0, "*", asked))
    for name in streams:
        log.add(_record(log.next_offset, f"source:{name}", Policy(retention=targets[name])))
        log.add(_record(log.next_offset, f"source:{name}", _mask(name, priors[name])))
    selector = Selector(0)
    found = {name: Outcome.of(name, targets[name], stream) for name, stream in streams.items()}
    for offset, card in enumerate(_cards(streams)):
        rules = log.rules(GROUP, card.source, LINEAGE)
        assert rules is not None
        outcome = selector.select(card, offset, rules).outcome
        assert isinstance(outcome, Decision)
        found[card.source].note(card.origin.offset, outcome)
    return list(found.values())


def offline(outcome: Outcome, unit: Unit, target: float) -> NDArray[np.bool_]:
    """The exact selection of the whole stream: best qualities first, ties by hash, until the share is reached."""
    ties = np.array([u("tie", document) for document in outcome.ids])
    order = np.lexsort((ties, -outcome.cells))
    weights = outcome.weights(unit)[order]
    selected = np.zeros(len(order), dtype=bool)
    selected[order] = np.cumsum(weights) - weights / 2 < target * weights.sum()
    return selected


def windowed(outcome: Outcome, prior: Stream, flat: bool) -> NDArray[np.bool_]:
    """What the exact quantile of the window before each card selects."""
    sketch = Sketch(*(_prior_cells(prior) for _ in range(2)))
    window: deque[int] = deque()
    selected = np.zeros(len(outcome.tokens), dtype=bool)
    counts = np.zeros_like(_prior_cells(prior))
    for at, (document, cell) in enumerate(zip(outcome.ids, outcome.cells.tolist(), strict=True)):
        mark: Mark = (Sketch(counts) if flat and at >= 25 else sketch).upper_tail(outcome.target, "documents")
        selected[at] = is_above(mark, cell / 10, document)
        sketch.add(cell, 1)
        window.append(cell)
        counts[cell] += 1
        if len(window) > FLAT_WINDOW:
            counts[window.popleft()] -= 1
        if (at + 1) % HALVING_CARDS == 0:
            sketch.halve()
    return selected


def agreement(kind: Kind, outcome: Outcome, prior: Stream) -> float:
    """Share of the documents on which stream and oracle agree."""
    if kind.oracle == "windowed":
        return float((windowed(outcome, prior, flat=False) == outcome.selected).mean())
    if kind.band > 0:
        upper, lower = (offline(outcome, kind.unit, outcome.target + sign * kind.band / 2) for sign in (-1, 1))
        return float((upper.astype(int) + lower == outcome.classes).mean())
    return float((offline(outcome, kind.unit, outcome.target) == outcome.selected).mean())


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


def _cards(streams: dict[str, Stream]) -> Iterator[ScoreCard]:
    longest = max(len(stream.tokens) for stream in streams.values())
    for first in range(0, longest, RUN):
        for name, stream in streams.items():
            scores, tokens = stream.scores[first : first + RUN].tolist(), stream.tokens[first : first + RUN].tolist()
            for at, (fifteen, length) in enumerate(zip(scores, tokens, strict=True), first):
                origin = Origin(topic="mira.documents.text", partition=0, offset=at, timestamp_ms=0)
                yield ScoreCard(
                    id=f"{name}-{at}",
                    source=name,
                    group=GROUP,
                    origin=origin,
                    lineage=LINEAGE,
                    mode="scores",
                    scores=fifteen,
                    tokens=length,
                )


def _mask(source: str, prior: Stream | None) -> Mask:
    mask = Mask(
        mask="m1",
        group=GROUP,
        source=source,
        lineage=LINEAGE,
        dimensions=list(SLOTS),
        means=[0.0] * DIMENSIONS,
        trim=0.1,
    )
    if prior is None:
        return mask
    through = lens(mask)
    cells: dict[str, float] = {}
    for row in prior.scores.tolist():
        cell = str(judge(row, through).cell)
        cells[cell] = cells.get(cell, 0.0) + 1.0
    count = len(prior.tokens)
    return Mask(
        **{name: getattr(mask, name) for name in mask.__struct_fields__ if name != "prior"},
        prior=Prior(cells=cells, documents=count, tokens=int(prior.tokens.sum())),
    )


def _prior_cells(prior: Stream) -> Floats:
    known = _mask("any", prior).prior
    assert known is not None
    cells = np.zeros(1001)
    for cell, weight in known.cells.items():
        cells[int(cell)] = weight * 25 / known.documents
    return cells


def _record(offset: int, key: str, message: Policy | Mask) -> Record:
    return Record("mira.policy", 0, offset, 0, key.encode(), encode(message))


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
    parser.add_argument("--documents", type=at_least(DOCUMENTS_MIN), default=10_000, help="of each source")
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
        _print(kind.name, row, said)
        results[kind.name] = {**row, "goals": said, "seconds": round(time.monotonic() - started, 1)}
    errors = [error for seed in range(asked.seeds) for error in newcomers(asked.new, 200, seed)]
    found = {"error_mean": _mean(errors), "error_p95": float(np.quantile(errors, 0.95))}
    said = [
        {"goal": name, "limit": limit, "figure": found[name], "met": found[name] <= limit}
        for name, limit in (("error_mean", 3.0), ("error_p95", 8.0))
    ]
    missed += sum(not one["met"] for one in said)
    print(f"{'new, first 200 documents':26} {found['error_mean']:10.2f} p95 {found['error_p95']:.2f}  {_said(said)}")
    results["new source"] = {**found, "goals": said}
    print(
        orjson.dumps(
            {"documents": asked.documents, "seeds": asked.seeds, "missed": missed, "streams": results}
        ).decode()
    )
    return 1 if missed else 0


def _print(name: str, row: dict[str, float], said: list[dict[str, object]]) -> None:
    flat = f"{100 * row['flat_mean']:6.2f}%" if "flat_mean" in row else f"{'':7}"
    print(
        f"{name:26} {row['error_mean']:10.3f} {row['error_most']:6.3f} {100 * row['agree_mean']:10.2f}%"
        f" {100 * row['agree_least']:6.2f}% {flat}  {_said(said)}",
        flush=True,
    )


def _said(goals_of_row: list[dict[str, object]]) -> str:
    return ", ".join(f"{one['goal']} {'met' if one['met'] else 'MISSED'}" for one in goals_of_row)


if __name__ == "__main__":
    program(main)
