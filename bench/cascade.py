"""What does a cascade save, and what does it lose? Simulated streams.

A simulated stream has a teacher's quality for each document, and what a full and a cheap stage make of it: that quality
with an error of their own and one that they share. Streams differ in their errors, target, held-out set and lengths.
The real Selector decides each stream twice: with full scores throughout, and with what the cascade makes of it
(`mira_stream.cascade`, thresholds known a hundred cards late). The two are compared:

  loss       share of documents in another class (keep, downsample, drop) than their full scores would have put them in
             under the same thresholds: what the half-width bounds; `holds`: the share of streams within the limit
  apart      share of documents in another class than in the stream that was scored in full, thresholds and all
  savings    prompt tokens of the full stage if it judges everything, over those it is asked for
  gain       selection gain (mean teacher's quality of the selected over that of all) as a share of full scoring's
  likeness   correlation of cheap and full qualities

Beside it: the bound on average, the cheap scores alone, and as many documents sent on as the cascade sends, by lot. Two
kinds of streams leave what they were calibrated on. The last line is one JSON object; the exit code is 1 if the first
kind misses a goal.

    python bench/cascade.py --streams 1000
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mira_stream.cascade import Calibration, InForce, Pair, route
from mira_stream.chance import u
from mira_stream.epochs import decide
from mira_stream.messages import (
    DIMENSIONS,
    SLOTS,
    Decision,
    Epoch,
    Mark,
    Mask,
    Origin,
    Policy,
    Prior,
    ScoreCard,
    encode,
)
from mira_stream.quality import judge, lens
from mira_stream.records import Record
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.selector import Selector

Floats = NDArray[np.float64]
GROUP, SOURCE, LINEAGE = "text", "simulated", "0123456789ab"
LATE_CARDS: Final = 100
"""So many cards pass before a scorer knows of a new epoch."""
LOSSES: Final = (0.05, 0.1)
GOALS: Final = ((3.0, 0.98), (5.0, 0.96))
"""(savings, gain)"""
HOLDS_MIN: Final = 0.95


class Kind(NamedTuple):
    """How streams of a row are drawn: standard deviations of the errors, in points of a quality that has 12.

    `drift`: by how many standard deviations the level climbs; `worse`: by what the cheap errors grow half way.
    """

    name: str
    full: tuple[float, float] = (2.0, 6.0)
    cheap: tuple[float, float] = (2.0, 7.0)
    drift: float = 0.0
    worse: float = 1.0


KINDS: Final = (
    Kind("stationary"),
    Kind("near cheap stage", cheap=(1.0, 2.0)),
    Kind("far cheap stage", cheap=(7.0, 10.0)),
    Kind("level climbs by one sd", drift=1.0),
    Kind("cheap errors double", worse=2.0),
)


class Stream(NamedTuple):
    """Qualities and prompt tokens of each document, in order; the first `held_out` are the held-out set."""

    target: float
    held_out: int
    teacher: Floats
    full: Floats
    cheap: Floats
    tokens: NDArray[np.int64]


class Row(NamedTuple):
    """What became of one stream. `asked`: prompt tokens of the full stage as a share of those of full scoring."""

    likeness: float
    sent: float
    asked: float
    loss: float
    apart: float
    gain: float
    error: float


def make(kind: Kind, documents: int, random: np.random.Generator) -> Stream:
    target = round(float(random.uniform(0.2, 0.7)), 3)
    held_out = int(random.choice([200, 300, 500]))
    count = held_out + documents
    at = np.concatenate([np.zeros(held_out), np.linspace(0.0, 1.0, documents)])
    teacher = 58 + 12 * (random.normal(size=count) + kind.drift * at)
    shared = random.normal(size=count) * random.uniform(*kind.full)
    extra = random.normal(size=count) * random.uniform(*kind.cheap) * np.where(at >= 0.5, kind.worse, 1.0)
    own = random.normal(size=count) * random.uniform(0.5, 1.5)
    tokens = np.clip(np.exp(7 + random.normal(size=count)), 50, 32_768).astype(np.int64)
    full = _grid(teacher + shared + own)
    return Stream(target, held_out, teacher, full, _grid(teacher + shared + extra + random.uniform(-1, 1)), tokens)


def _grid(qualities: Floats) -> Floats:
    return np.asarray(np.round(np.clip(qualities, 0, 100), 1), np.float64)


class Run(NamedTuple):
    """A stream through the Selector. `judged`: what each document's quality was; `epochs`: in force at each."""

    judged: list[float]
    sent: list[bool]
    decisions: list[Decision]
    epochs: list[Epoch]


Choose = Callable[[int, Epoch | None], tuple[float, bool]]
"""(document, the epoch a scorer knows of) -> (the quality that counts, whether the full stage was asked)."""


def run(stream: Stream, choose: Choose) -> Run:
    log, mask = PolicyLog(), _mask(stream)
    log.add(_record(0, "*", Policy(retention=stream.target, band=0.1)))
    log.add(_record(1, f"source:{SOURCE}", mask))
    rules = log.rules(GROUP, SOURCE, LINEAGE)
    assert rules is not None
    selector, found, known = Selector(0), Run([], [], [], []), list[Epoch]()
    for at in range(len(stream.full) - stream.held_out):
        seen = known[at - LATE_CARDS] if at >= LATE_CARDS else None
        quality, sent = choose(at, seen)
        selection = selector.select(_card(at, quality, int(stream.tokens[stream.held_out + at])), at, rules)
        assert isinstance(selection.outcome, Decision)
        known.append(selection.epoch or known[-1])
        found.judged.append(quality)
        found.sent.append(sent)
        found.decisions.append(selection.outcome)
        found.epochs.append(known[-1])
    return found


def full_scoring(stream: Stream) -> Run:
    return run(stream, lambda at, _: (float(stream.full[stream.held_out + at]), True))


def cheap_alone(stream: Stream) -> Run:
    return run(stream, lambda at, _: (float(stream.cheap[stream.held_out + at]), False))


def by_lot(stream: Stream, share: float) -> Run:
    """Sends on as many, whichever."""

    def choose(at: int, _: Epoch | None) -> tuple[float, bool]:
        sent = u("audit", f"{at}") < share
        return float((stream.full if sent else stream.cheap)[stream.held_out + at]), sent

    return run(stream, choose)


def cascade(stream: Stream, loss: float, confidence: float | None) -> Run:
    through = lens(_mask(stream))
    pairs = [
        Pair(str(at), _fifteen(float(stream.cheap[at])), _fifteen(float(stream.full[at])))
        for at in range(stream.held_out)
    ]
    calibration, widths = Calibration(pairs, through, {}), dict[int, float]()

    def choose(at: int, epoch: Epoch | None) -> tuple[float, bool]:
        cheap, full = float(stream.cheap[stream.held_out + at]), float(stream.full[stream.held_out + at])
        if epoch is None or epoch.keep is None or epoch.drop is None:
            return full, True
        if epoch.epoch not in widths:
            widths[epoch.epoch] = calibration.half_width(epoch.keep, epoch.drop, loss, confidence)
        known = InForce(SOURCE, epoch.epoch, epoch.keep, epoch.drop, through, widths[epoch.epoch])
        return (cheap, False) if route(_fifteen(cheap), known).is_sure else (full, True)

    return run(stream, choose)


def compare(stream: Stream, full: Run, other: Run) -> Row:
    """A stream's run beside the one that was scored in full, once a scorer can know of thresholds."""
    first = 2 * LATE_CARDS
    qualities, teacher = stream.full[stream.held_out :], stream.teacher[stream.held_out :]
    tokens = stream.tokens[stream.held_out :][first:]
    sent = np.array(other.sent[first:])
    wanted = [
        _class(at, float(qualities[at]), epoch.keep, epoch.drop) for at, epoch in enumerate(other.epochs) if at >= first
    ]
    given = [one.decision for one in other.decisions[first:]]
    lost = np.array([a != b for a, b in zip(wanted, given, strict=True)])
    apart = np.array([a.decision != b for a, b in zip(full.decisions[first:], given, strict=True)])
    best, mine = (_gain(teacher[first:], one.decisions[first:]) for one in (full, other))
    kept = mean(one.selected for one in other.decisions)
    return Row(
        float(np.corrcoef(qualities, stream.cheap[stream.held_out :])[0, 1]),
        float(sent.mean()),
        float(tokens[sent].sum() / tokens.sum()),
        float(lost.mean()),
        float(apart.mean()),
        mine / best,
        100 * abs(kept - stream.target),
    )


def _class(at: int, quality: float, keep: Mark | None, drop: Mark | None) -> str:
    return decide(f"{SOURCE}-{at}", quality, [], {}, keep, drop, 0.0).decision


def _gain(teacher: Floats, decisions: Sequence[Decision]) -> float:
    return float(teacher[np.array([one.selected for one in decisions])].mean() - teacher.mean())


def summary(name: str, limit: float | None, rows: Sequence[Row]) -> dict[str, object]:
    """One line of the table."""
    asked = mean(row.asked for row in rows)
    found: dict[str, object] = {
        "arm": name,
        "loss_limit": limit,
        "streams": len(rows),
        "likeness": round(mean(row.likeness for row in rows), 4),
        "sent": round(mean(row.sent for row in rows), 4),
        "savings": round(1 / asked, 3) if asked else None,
        "savings_median": round(median(1 / row.asked for row in rows), 3) if asked else None,
        "gain": round(mean(row.gain for row in rows), 4),
        "gain_p05": round(float(np.quantile([row.gain for row in rows], 0.05)), 4),
        "loss": round(mean(row.loss for row in rows), 4),
        "apart": round(mean(row.apart for row in rows), 4),
        "retention_error": round(mean(row.error for row in rows), 3),
    }
    if limit is not None:
        found["holds"] = round(mean(row.loss <= limit for row in rows), 4)
    return found


def simulate(
    kind: Kind, streams: int, beside: int, documents: int, say: Callable[[str], None]
) -> list[dict[str, object]]:
    """The arms of one kind, over the same streams; the first `beside` of them also in the other arms."""
    arms: dict[tuple[str, float | None], list[Row]] = {}
    for number in range(streams):
        stream = make(kind, documents, np.random.default_rng([number, sum(kind.name.encode())]))
        full = full_scoring(stream)
        if number and number % 50 == 0:
            say(f"{kind.name}: {number} of {streams} streams")
        for loss in LOSSES:
            arms.setdefault(("cascade", loss), []).append(compare(stream, full, cascade(stream, loss, 0.95)))
        if number >= beside:
            continue
        average = compare(stream, full, cascade(stream, LOSSES[0], None))
        arms.setdefault(("cascade, bound on average", LOSSES[0]), []).append(average)
        lot = by_lot(stream, arms["cascade", LOSSES[0]][-1].sent)
        arms.setdefault(("as many by lot", None), []).append(compare(stream, full, lot))
        arms.setdefault(("cheap alone", None), []).append(compare(stream, full, cheap_alone(stream)))
    return [{"kind": kind.name} | summary(name, limit, rows) for (name, limit), rows in arms.items()]


def goals(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Savings at a gain, and the bound, of one kind's rows: the best row that has the gain."""
    found: list[dict[str, object]] = []
    arms = [row for row in rows if row["arm"] == "cascade"]
    for savings, gain in GOALS:
        reached = [float(str(row["savings"])) for row in arms if float(str(row["gain"])) >= gain]
        best = max(reached, default=None)
        found.append(
            {"goal": f"savings at gain {gain}", "limit": savings, "figure": best, "met": (best or 0) >= savings}
        )
    least = min(float(str(row["holds"])) for row in arms)
    found.append({"goal": "bound holds", "limit": HOLDS_MIN, "figure": least, "met": least >= HOLDS_MIN})
    return found


def _fifteen(quality: float) -> list[float]:
    """Fifteen scores of that quality."""
    return [quality / 10] * DIMENSIONS


def _card(at: int, quality: float, tokens: int) -> ScoreCard:
    return ScoreCard(
        id=f"{SOURCE}-{at}",
        source=SOURCE,
        group=GROUP,
        origin=Origin(topic="mira.documents.text", partition=0, offset=at, timestamp_ms=0),
        lineage=LINEAGE,
        mode="scores",
        scores=list(_fifteen(quality)),
        tokens=tokens,
    )


def _mask(stream: Stream) -> Mask:
    bare = Mask(
        mask="m1", group=GROUP, source=SOURCE, lineage=LINEAGE, dimensions=list(SLOTS), means=[0.0] * 15, trim=0.1
    )
    through, cells = lens(bare), dict[str, float]()
    for quality in stream.full[: stream.held_out]:
        cell = str(judge(_fifteen(float(quality)), through).cell)
        cells[cell] = cells.get(cell, 0.0) + 1.0
    return Mask(
        **{name: getattr(bare, name) for name in bare.__struct_fields__ if name != "prior"},
        prior=Prior(cells=cells, documents=stream.held_out, tokens=0),
    )


def _record(offset: int, key: str, message: Policy | Mask) -> Record:
    return Record("mira.policy", 0, offset, 0, key.encode(), encode(message))


def table(rows: Sequence[dict[str, object]]) -> Table:
    names = "streams", "likeness", "sent", "savings", "gain", "gain_p05", "loss", "holds", "apart", "retention_error"
    shown = Table("kind", "arm", "limit", *(name.replace("_", " ") for name in names))
    for row in rows:
        limit = row["loss_limit"]
        shown.add_row(
            str(row["kind"]),
            str(row["arm"]),
            "" if limit is None else f"{limit}",
            *("-" if row.get(name) is None else str(row[name]) for name in names),
        )
    return shown


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1_000, help="of the first kind")
    parser.add_argument("--others", type=int, default=100, help="of each other kind, and of the other arms")
    parser.add_argument("--documents", type=int, default=1_500, help="of a stream, behind its held-out set")
    return parser.parse_args(argv)


def main() -> int:
    asked = parse_arguments()
    say = Console(stderr=True).print
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        streams = asked.streams if kind is KINDS[0] else min(asked.streams, asked.others)
        rows += simulate(kind, streams, asked.others, asked.documents, say) if streams else []
    found = goals([row for row in rows if row["kind"] == KINDS[0].name]) if rows else []
    Console(width=160).print(table(rows))
    print(orjson.dumps({"rows": rows, "goals": found}).decode())
    return 0 if all(one["met"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
