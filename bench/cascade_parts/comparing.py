"""A stream's decisions beside those of full scoring, and what many streams come to."""

import itertools
from collections.abc import Sequence
from statistics import mean, median
from typing import Final, NamedTuple

import numpy as np

from bench.cascade_parts.deciding import LATE_CARDS, Run, classes
from bench.cascade_parts.streams import Stream

GOALS: Final = ((3.0, 0.98), (5.0, 0.96))
"""(savings, gain)"""
HOLDS_MIN: Final = 0.95
UNBOUND: Final = 2 * LATE_CARDS
"""For the first half of these the scorer knows no thresholds: it sends all of it on, which costs tokens and loses
nothing; for the other half it knows those of the prior."""


class Row(NamedTuple):
    """What became of one stream. `asked`: prompt tokens of the full stage as a share of those of full scoring, and
    `sent`, of documents, are of the whole stream; `loss`, `apart` and `gain` are of what comes behind its first
    UNBOUND documents."""

    likeness: float
    sent: float
    asked: float
    loss: float
    apart: float
    gain: float
    error: float


def compare(stream: Stream, full: Run, other: Run) -> Row:
    """A stream's run beside the one that was scored in full."""
    rest = slice(UNBOUND, None)
    qualities, cheap, teacher = (one[stream.held_out :] for one in (stream.full, stream.cheap, stream.teacher))
    tokens = stream.tokens[stream.held_out :]
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
        float(other.sent.mean()),
        float(tokens[other.sent].sum() / tokens.sum()),
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
