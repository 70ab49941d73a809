"""What does a cascade save, and what does it lose? Simulated streams.

A simulated stream has a teacher's quality for each document, and what a full and a cheap stage make of it: that quality
with an error of their own and one that they share. Streams differ in their errors, target, held-out set and lengths.
Each stream is decided twice, as the Selector does: with full scores throughout, and with what the cascade makes of it
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
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import mean, median
from typing import Final, NamedTuple

import numpy as np
import orjson
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mira_stream.cascade import Calibration, Pair
from mira_stream.chance import u
from mira_stream.epochs import BAND_SELECTED, correct_target, count_border, is_above, thresholds
from mira_stream.messages import DIMENSIONS, SLOTS, Mark, Mask, Prior
from mira_stream.quality import lens
from mira_stream.sketch import HALVING_CARDS, Sketch, from_prior

Floats = NDArray[np.float64]
GROUP, SOURCE, LINEAGE = "text", "simulated", "0123456789ab"
BARE: Final = Mask(
    mask="m1", group=GROUP, source=SOURCE, lineage=LINEAGE, dimensions=list(SLOTS), means=[0.0] * DIMENSIONS, trim=0.1
)
THROUGH: Final = lens(BARE)
BAND: Final = 0.1
HORIZON: Final = 500
LATE_CARDS: Final = 100
"""So many cards pass before a scorer knows of a new epoch."""
LOSSES: Final = (0.02, 0.05, 0.1, 0.15)
GOALS: Final = ((3.0, 0.98), (5.0, 0.96))
"""(savings, gain)"""
HOLDS_MIN: Final = 0.95


class Marks(NamedTuple):
    keep: Mark
    drop: Mark


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
    """A stream decided, document by document: the quality that counted, whether the full stage was asked, the class
    and whether it was selected; and the thresholds each was decided under (`known`: those its scorer knew of)."""

    qualities: Floats
    sent: NDArray[np.bool_]
    classes: NDArray[np.int64]
    selected: NDArray[np.bool_]
    marks: list[Marks | None]


Choose = Callable[[slice, Marks | None], NDArray[np.bool_]]
"""(documents, the thresholds their scorer knows of) -> which of them the full stage is asked about."""


def run(stream: Stream, choose: Choose) -> Run:
    """As the Selector decides (a test compares them), span by span: thresholds stand still between two borders."""
    cheap, full = stream.cheap[stream.held_out :], stream.full[stream.held_out :]
    count = len(full)
    found = Run(full.copy(), np.ones(count, np.bool_), np.zeros(count, np.int64), np.zeros(count, np.bool_), [])
    prior = _mask(stream).prior
    sketch, at, kept = from_prior(prior), 0, 0
    while at < count:
        target = correct_target(stream.target, stream.target * at - kept, at, 1.0, HORIZON)
        border = thresholds(sketch, "documents", at, target, BAND)
        cards = next(cards for cards in itertools.count(1) if count_border(at + cards, cards))
        span = slice(at, min(count, at + cards))
        marks = None if border.keep is None or border.drop is None else Marks(border.keep, border.drop)
        for part in _parts(span):
            known = found.marks[part.start - LATE_CARDS] if part.start >= LATE_CARDS else None
            sent = choose(part, known)
            found.sent[part] = sent
            found.qualities[part] = np.where(sent, full[part], cheap[part])
            found.marks.extend([marks] * (part.stop - part.start))
        found.classes[span] = classes(found.qualities[span], span.start, marks)
        found.selected[span] = _selected(found.classes[span], span.start)
        kept += int(found.selected[span].sum())
        _count(sketch, found.qualities, span)
        at = int(span.stop)
    return found


def _parts(span: slice) -> Iterator[slice]:
    """A span in pieces of ten: how finely a scorer's knowledge is followed."""
    for first in range(span.start, span.stop, 10):
        yield slice(first, min(span.stop, first + 10))


def _count(sketch: Sketch, qualities: Floats, span: slice) -> None:
    for at in range(span.start, span.stop):
        sketch.add(round(float(qualities[at]) * 10), 1)
        if (at + 1) % HALVING_CARDS == 0:
            sketch.halve()


def classes(qualities: Floats, first: int, marks: Marks | None) -> NDArray[np.int64]:
    """2 keep, 1 downsample, 0 drop. Simulated streams have a prior, so that thresholds are there from the start."""
    assert marks is not None
    found = np.zeros(len(qualities), np.int64)
    for mark in marks:
        found += qualities > mark.value
        for at in np.flatnonzero(qualities == mark.value):
            found[at] += is_above(mark, float(qualities[at]), f"{SOURCE}-{first + at}")
    return found


def _selected(found: NDArray[np.int64], first: int) -> NDArray[np.bool_]:
    selected: NDArray[np.bool_] = found == 2
    for at in np.flatnonzero(found == 1):
        selected[at] = u("band", f"{SOURCE}-{first + at}") < BAND_SELECTED
    return selected


def full_scoring(stream: Stream) -> Run:
    return run(stream, lambda part, _: np.ones(part.stop - part.start, np.bool_))


def cheap_alone(stream: Stream) -> Run:
    return run(stream, lambda part, _: np.zeros(part.stop - part.start, np.bool_))


def by_lot(stream: Stream, share: float) -> Run:
    """Sends on as many, whichever."""
    return run(stream, lambda part, _: np.array([u("audit", f"{at}") < share for at in range(part.start, part.stop)]))


def calibration(stream: Stream) -> Calibration:
    held_out = range(stream.held_out)
    pairs = [Pair(str(at), _fifteen(float(stream.cheap[at])), _fifteen(float(stream.full[at]))) for at in held_out]
    return Calibration(pairs, THROUGH, {})


def cascade(stream: Stream, known: Calibration, loss: float, confidence: float | None) -> Run:
    widths = dict[Marks, float]()
    cheap = stream.cheap[stream.held_out :]

    def choose(part: slice, marks: Marks | None) -> NDArray[np.bool_]:
        if marks is None:
            return np.ones(part.stop - part.start, np.bool_)
        if marks not in widths:
            widths[marks] = known.half_width(marks.keep, marks.drop, loss, confidence)
        return is_near(cheap[part], marks, widths[marks])

    return run(stream, choose)


def is_near(cheap: Floats, marks: Marks, half_width: float) -> NDArray[np.bool_]:
    """As `cascade.route` has it (a test compares them), of many documents at once."""
    distances = np.minimum(*(np.abs(cheap - mark.value) for mark in marks))
    found: NDArray[np.bool_] = np.round(distances, 1) <= round(half_width, 1)
    return found


def compare(stream: Stream, full: Run, other: Run) -> Row:
    """A stream's run beside the one that was scored in full, once a scorer can know of thresholds."""
    rest = slice(2 * LATE_CARDS, None)
    qualities, cheap, teacher = (one[stream.held_out :] for one in (stream.full, stream.cheap, stream.teacher))
    tokens, sent = stream.tokens[stream.held_out :][rest], other.sent[rest]
    wanted = np.concatenate(
        [
            classes(qualities[run[0] : run[-1] + 1], run[0], marks)
            for marks, group in itertools.groupby(range(len(other.marks)), key=lambda at: other.marks[at])
            if (run := list(group))
        ]
    )
    gains = [float(teacher[rest][one.selected[rest]].mean() - teacher[rest].mean()) for one in (full, other)]
    return Row(
        float(np.corrcoef(qualities, cheap)[0, 1]),
        float(sent.mean()),
        float(tokens[sent].sum() / tokens.sum()),
        float((wanted != other.classes)[rest].mean()),
        float((full.classes != other.classes)[rest].mean()),
        gains[1] / gains[0],
        100 * abs(float(other.selected.mean()) - stream.target),
    )


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
        full, known = full_scoring(stream), calibration(stream)
        if number and number % 50 == 0:
            say(f"{kind.name}: {number} of {streams} streams")
        for loss in LOSSES:
            arms.setdefault(("cascade", loss), []).append(compare(stream, full, cascade(stream, known, loss, 0.95)))
        if number >= beside:
            continue
        average = compare(stream, full, cascade(stream, known, LOSSES[1], None))
        arms.setdefault(("cascade, bound on average", LOSSES[1]), []).append(average)
        lot = by_lot(stream, arms["cascade", LOSSES[1]][-1].sent)
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


def _mask(stream: Stream) -> Mask:
    """With the prior of the held-out set."""
    counts: dict[str, float] = {}
    for quality in stream.full[: stream.held_out].tolist():
        cell = str(round(quality * 10))
        counts[cell] = counts.get(cell, 0.0) + 1.0
    return replace(BARE, prior=Prior(cells=counts, documents=stream.held_out, tokens=0))


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
    parser.add_argument("--documents", type=int, default=2_000, help="of a stream, behind its held-out set")
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
