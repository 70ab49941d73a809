"""How often does a watch over cells cry wolf, and how late does it notice a real change?

Simulated labels, `--labels` of each source an hour (half uniform, half near the threshold, weighted), scores 1 to 10.
A calm cell keeps the truth it was measured with: student = teacher + noise, cell by cell a standard deviation between
0.6 and 1.1, which is MAE 0.45 to 0.85 and rho 0.95 to 0.85; and two cells in five rank only weakly on a narrow
scale (rho about 0.45, MAE about 0.6). All of them are inside the limits (MAE under 1, rho over 0.3), so each alarm in
a calm stream is false. A planted change turns five dimensions of one source into noise (rho 0) or adds a point and a
half to the student's scores.

  naive    every hour, each cell's newest 50 labels, unweighted point estimates against the limits
  bounds   the same, but an alarm only if a one-sided 90 % bound is on the wrong side, as a single table would say
  monitor  mira_stream.reliability.monitor: windows of >= 100, two of three, Holm, hysteresis

`looks` counts every look at a cell that ends in an alarm, of the monitor every hour that an alarm stands; an alarm that
stands is `raised` once. The last line is one
JSON object.

    python bench/watch_false_alarms.py --days 6 --repeats 10
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command.arguments import Parser, positive
from bench.command.ending import program
from bench.command.last_line import last_line
from mira_stream.label_messages import Inclusion, TeacherLabel
from mira_stream.messages import DIMENSIONS, SLOTS, CardPosition, Origin
from mira_stream.reliability.monitor import HOUR_MS, Event, Monitor
from mira_stream.reliability.windows import cell_window
from mira_stream.sections import MaskLimits

Floats = NDArray[np.float64]
LIMITS: Final = MaskLimits()
PEEK: Final = 50
UNIFORM, NEAR = 0.01, 0.1
CHANGED: Final = range(5)
CHANGES: Final = ("none", "noise", "shift")


class Hour(NamedTuple):
    """Labels of one source and hour: scores [n, 15] of both sides, inclusion probabilities [n]."""

    source: int
    hour: int
    teacher: Floats
    student: Floats
    inclusion: Floats


class Counted(NamedTuple):
    """Alarms before the change (all of them false): as looked at and as raised; hours watched before it, and hours
    from it to the first alarm of a cell that changed (None: never)."""

    looks: int
    raised: int
    hours: int
    delay_hours: int | None


def stream(
    chance: np.random.Generator, sources: int, labels: int, hours: int, change: str, change_hour: int
) -> Iterator[Hour]:
    """Hour by hour, source by source. The change is in source 0."""
    spread = chance.uniform(0.6, 1.1, (sources, DIMENSIONS))
    weak = np.arange(sources * DIMENSIONS).reshape(sources, DIMENSIONS) % 5 >= 3
    weak[0, list(CHANGED)] = False  # a change is one from good to bad
    for hour in range(hours):
        for source in range(sources):
            n = int(chance.poisson(labels))
            narrow = np.where(weak[source], 0.75, 2.0)
            true = chance.normal(6, narrow, (n, DIMENSIONS))
            noise = np.where(weak[source], 1.2, spread[source])
            guess = true + chance.normal(0, 1, (n, DIMENSIONS)) * noise
            # A weak cell's guess is drawn back to the mean, as a student's is that knows little.
            guess = np.where(weak[source], 6 + 0.55 * (guess - 6), guess)
            if source == 0 and hour >= change_hour:
                if change == "noise":
                    guess[:, list(CHANGED)] = chance.normal(6, 2, (n, len(CHANGED)))
                elif change == "shift":
                    guess[:, list(CHANGED)] += 1.5
            near = chance.random(n) < 0.5
            inclusion = np.where(near, UNIFORM + NEAR, UNIFORM)
            yield Hour(source, hour, scores(true), scores(guess), inclusion)


def scores(latent: Floats) -> Floats:
    return np.clip(np.round(latent), 1, 10)


def naive(hours: list[Hour], change_hour: int, *, bounds: bool) -> Counted:
    """Looks at each cell every hour on its newest PEEK labels."""
    newest: dict[int, tuple[Floats, Floats]] = {}
    standing: set[tuple[int, int]] = set()
    looks = raised = 0
    delay = None
    for one in hours:
        teacher, student = newest.get(one.source, (one.teacher[:0], one.student[:0]))
        teacher = np.concatenate([teacher, one.teacher])[-PEEK:]
        student = np.concatenate([student, one.student])[-PEEK:]
        newest[one.source] = (teacher, student)
        if len(teacher) < PEEK:
            continue
        for slot in range(DIMENSIONS):
            cell = cell_window(teacher[:, slot], student[:, slot], np.ones(PEEK), LIMITS, 2)
            mae, rho = (cell.mae_lo, cell.rho_hi) if bounds else (cell.mae, cell.rho)
            key = (one.source, slot)
            if (mae is not None and mae >= LIMITS.mae) or (rho is not None and rho <= LIMITS.rho):
                if one.hour < change_hour:
                    looks += 1
                    raised += key not in standing
                elif delay is None and one.source == 0 and slot in CHANGED and key not in standing:
                    delay = one.hour - change_hour + 1
                standing.add(key)
            else:
                standing.discard(key)
    return Counted(looks, raised, change_hour, delay)


def monitored(hours: list[Hour], change_hour: int) -> Counted:
    """The monitor itself, on the labels as they would lie in the topic."""
    monitor = Monitor(LIMITS)
    last = 0
    for one in hours:
        last = max(last, one.hour)
        for label in labels_of(one):
            monitor.add(label)
    seen = monitor.look((last + 1) * HOUR_MS).events
    events = [event for event in seen if event.raised]
    before = [event for event in events if event.at_ms <= change_hour * HOUR_MS]
    found = [
        event.at_ms // HOUR_MS - change_hour
        for event in events
        if event.at_ms > change_hour * HOUR_MS and event.unit.source == "s0" and SLOTS.index(event.slot) in CHANGED
    ]
    return Counted(standing_hours(seen, change_hour), len(before), change_hour, min(found, default=None))


def standing_hours(events: Iterable[Event], until_hour: int) -> int:
    """Hours in which an alarm stood, over all cells, until then."""
    signs = ((1 if event.raised else -1, event.at_ms // HOUR_MS) for event in events)
    return sum(sign * (until_hour + 1 - hour) for sign, hour in signs if hour <= until_hour)


def labels_of(one: Hour) -> Iterator[TeacherLabel]:
    for number in range(len(one.teacher)):
        place = one.hour * 100_000 + number
        near = float(one.inclusion[number]) > UNIFORM
        yield TeacherLabel(
            id=f"d{place}",
            source=f"s{one.source}",
            group="g",
            origin=Origin(topic="t", partition=one.source, offset=place, timestamp_ms=one.hour * HOUR_MS),
            decided=CardPosition(partition=one.source, offset=place),
            decided_ms=one.hour * HOUR_MS,
            lineage="l",
            mask="m",
            arm="near" if near else "uniform",
            inclusion=Inclusion(uniform=UNIFORM, near=NEAR if near else 0.0),
            teacher="simulated",
            dimensions_used=list(SLOTS),
            student_scores=one.student[number].tolist(),
            scores=one.teacher[number].tolist(),
        )


def simulate(seed: int, sources: int, labels: int, days: int, change: str) -> dict[str, Counted]:
    """One stream of `days`, with the change after two thirds of it ("none": after its end)."""
    hours = 24 * days
    change_hour = hours if change == "none" else hours * 2 // 3
    lived = list(stream(np.random.default_rng(seed), sources, labels, hours, change, change_hour))
    return {
        "naive": naive(lived, change_hour, bounds=False),
        "bounds": naive(lived, change_hour, bounds=True),
        "monitor": monitored(lived, change_hour),
    }


def summary(found: list[Counted]) -> dict[str, float | int | None]:
    """False alarms a day over all repeats, and the delays of those that noticed."""
    days = sum(one.hours for one in found) / 24
    delays = sorted(one.delay_hours for one in found if one.delay_hours is not None)
    return {
        "days": days,
        "false_looks_a_day": sum(one.looks for one in found) / days,
        "false_alarms_a_day": sum(one.raised for one in found) / days,
        "noticed": len(delays),
        "repeats": len(found),
        "delay_hours_median": median(delays) if delays else None,
        "delay_hours_most": delays[-1] if delays else None,
    }


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--sources", type=positive, default=6)
    parser.add_argument("--labels", type=positive, default=100, help="labels of a source an hour")
    parser.add_argument("--days", type=positive, default=3, help="of each stream")
    parser.add_argument("--repeats", type=positive, default=4, help="streams of each kind")
    asked = parser.parse_args()
    results: dict[str, dict[str, dict[str, float | int | None]]] = {}
    print(
        f"{'change':8} {'watch':8} {'false a day: looks':>19} {'raised':>7}"
        f" {'noticed':>9} {'delay, median h':>16} {'most h':>7}"
    )
    for change in CHANGES:
        runs = [
            simulate(1_000 * CHANGES.index(change) + repeat, asked.sources, asked.labels, asked.days, change)
            for repeat in range(asked.repeats)
        ]
        results[change] = {watch: summary([run[watch] for run in runs]) for watch in runs[0]}
        for watch, row in results[change].items():
            noticed = "-" if change == "none" else f"{row['noticed']}/{row['repeats']}"
            delays = [
                "-" if row[name] is None else str(row[name]) for name in ("delay_hours_median", "delay_hours_most")
            ]
            rates = f"{row['false_looks_a_day']:19.2f} {row['false_alarms_a_day']:7.2f}"
            print(f"{change:8} {watch:8} {rates} {noticed:>9} {delays[0]:>16} {delays[1]:>7}")
    cells = asked.sources * DIMENSIONS
    last_line({"cells": cells, "labels_an_hour": asked.labels, "changes": results})


if __name__ == "__main__":
    program(main)
