"""What does a cascade save, and what does it lose? Simulated streams.

A simulated stream has a teacher's quality for each document, and what a full and a cheap stage make of it: that quality
with an error of their own and one that they share. Streams differ in their errors, target, held-out set and lengths.
Each stream is decided twice, as the Selector does: with full scores throughout, and with what the cascade makes of it
(`mira_stream.cascade`, thresholds known a hundred cards late: of the first hundred documents all are sent on). The two
are compared; what is sent on and saved is of the whole stream, loss, apart and gain are of what comes behind its first
200 documents, in the first hundred of which nothing can be lost:

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

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.cascade_parts.comparing import Row, compare, goals, summary
from bench.cascade_parts.deciding import by_lot, calibration, cascade, cheap_alone, full_scoring
from bench.cascade_parts.streams import KINDS, Kind, make
from bench.command.arguments import Parser, at_least, positive
from bench.command.ending import program
from bench.command.last_line import last_line

DOCUMENTS_MIN: Final = 300
"""Loss, apart and gain leave out the first 200 of a stream."""
STREAMS: Final = 1_000
DOCUMENTS: Final = 2_000
"""The goals are stated for so many streams of so many documents."""
LOSSES: Final = (0.02, 0.05, 0.1, 0.15)


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


def said(goal: dict[str, object], fewer: str) -> str:
    """A goal in a line; `fewer`: what to say of one that is missed by fewer streams than it is stated for."""
    figure = "none" if goal["figure"] is None else goal["figure"]
    met = "met" if goal["met"] else f"MISSED{fewer}"
    return f"goal, {goal['goal']}: {figure}, at least {goal['limit']}: {met}"


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--streams", type=positive, default=STREAMS, help="of the first kind")
    parser.add_argument("--others", type=at_least(0), default=100, help="of each other kind, and of the other arms")
    parser.add_argument(
        "--documents", type=at_least(DOCUMENTS_MIN), default=DOCUMENTS, help="of a stream, behind its held-out set"
    )
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
    of = f"; the goals are of {STREAMS:,} streams of {DOCUMENTS:,} documents"
    fewer = of if (asked.streams, asked.documents) != (STREAMS, DOCUMENTS) else ""
    for one in found:
        print(said(one, fewer))
    last_line({"rows": rows, "goals": found})
    return 0 if all(one["met"] for one in found) else 1


if __name__ == "__main__":
    program(main)
