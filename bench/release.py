"""How near to the ideal does the runner come with slow documents, and what do a stuck one and a rebalance cost?

Documents of 50 ms, 256 in flight: 256 / 0.05 s = 5,120/s is ideal. Measured on the embedded Kafka, results, offset and
Progress in transactions, from the first document begun to the last one committed:

  alone          the same handler under asyncio, 256 at once: no broker at all
  no-transaction the runner as it is, reading from Kafka, but what it would commit is thrown away
  release        the runner as it is
  stuck          the same, and the first document of the first partition takes --stuck-s: the rate of all others until
                 the last of them is committed, which it is in work for most of, and of the others of its own partition
  members        members of the group go 2 -> 3 -> 2 while they work: the longest time without any commit, and the
                 documents done again; once, behind the others

The first four take turns, --repeats times, in an order that has each follow each other one; medians count. Prints a
table; the last line is one JSON object.

    python bench/release.py --documents 60000 --repeats 4 --stuck-s 10 --rebalances 5
"""

import cProfile
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command.arguments import Parser, at_least, new_file, positive, seconds
from bench.command.ending import program, run
from bench.command.last_line import last_line
from bench.releasing.members import alone, run_members, run_one, write
from bench.releasing.world import Turn, World
from mira_stream.benching.alternating import order
from mira_stream.broker_local import embedded
from mira_stream.streaming.service import log_to_stderr

DOCUMENTS_MIN = 100


MEASUREMENTS = ("alone", "no-transaction", "release", "stuck", "members")


async def measure(given: Namespace, console: Console) -> dict[str, Any]:
    """The turns of each side, and what happened when members came and went."""
    found: dict[str, Any] = {}

    def world(stuck_s: float = 0.0) -> World:
        return World("documents", given.documents, given.document_s, stuck_s)

    with tempfile.TemporaryDirectory() as folder:
        async with embedded(Path(folder)) as servers:
            await write(servers, "documents", given.documents)
            runs: dict[str, Callable[[str], Awaitable[Turn]]] = {
                "alone": lambda group: alone(world(), given.in_flight),
                "no-transaction": lambda group: run_one(servers, world(), group, given.in_flight, void=True),
                "release": lambda group: run_one(servers, world(), group, given.in_flight),
                "stuck": lambda group: run_one(servers, world(given.stuck_s), group, given.in_flight),
            }
            sides = [name for name in runs if not given.only or name in given.only]
            for number in range(given.repeats):
                for name in order(sides, number):
                    found.setdefault(name, []).append(await runs[name](f"{name}-{number}"))
                    console.print(f"turn {number + 1}: {name}: {found[name][-1].rate:,.0f}/s")
            if not given.only or "members" in given.only:
                found["members"] = await run_members(servers, world(), "members", given.in_flight, given.rebalances)
                console.print(f"members: {found['members']}")
    return found


def figures(sides: Mapping[str, Sequence[Turn]], ideal: float) -> dict[str, Any]:
    """What the last line says of the sides; medians, `stuck_cost` within each round, and
    `stuck_cost_own` of its own partition (not there if a turn committed that in one go)."""
    found: dict[str, Any] = {}
    for name, turns in sides.items():
        key, rate = name.replace("-", "_"), median(turn.rate for turn in turns)
        found |= {f"{key}_per_s": round(rate, 1), f"{key}_share": round(rate / ideal, 4)}
        found[f"{key}_turns_per_s"] = [round(turn.rate, 1) for turn in turns]
        found[f"{key}_cpu_us"] = round(median(turn.cpu_us for turn in turns), 1)
    if "release" in sides and "stuck" in sides:
        pairs = list(zip(sides["stuck"], sides["release"], strict=True))
        found["stuck_cost"] = round(1 - median(stuck.rate / free.rate for stuck, free in pairs), 4)
        if all(free.own for _, free in pairs):
            found["stuck_cost_own"] = round(1 - median(stuck.own / free.own for stuck, free in pairs), 4)
    return found


def table(sides: Mapping[str, Sequence[Turn]], ideal: float) -> Table:
    shown = Table("", "documents/s: median", "turns", "share of the ideal", "CPU a document, µs")
    for name, turns in sides.items():
        rate, each = median(turn.rate for turn in turns), " ".join(f"{turn.rate:,.0f}" for turn in turns)
        cpu_us = median(turn.cpu_us for turn in turns)
        shown.add_row(name, f"{rate:,.0f}", each, f"{rate / ideal:.1%}", f"{cpu_us:.0f}")
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--documents", type=at_least(DOCUMENTS_MIN), default=60_000)
    parser.add_argument("--document-s", type=seconds, default=0.05)
    parser.add_argument("--in-flight", type=at_least(2), default=256)
    parser.add_argument("--repeats", type=positive, default=4, help="turns of each side")
    parser.add_argument("--stuck-s", type=at_least(0.0), default=10.0)
    parser.add_argument("--rebalances", type=positive, default=5)
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, help="one of the measurements by name; again for more"
    )
    parser.add_argument("--profile", type=new_file, help="write a cProfile of the whole run to this file")
    given = parser.parse_args(arguments)
    log_to_stderr()
    profile = cProfile.Profile()
    if given.profile:
        profile.enable()
    before = os.getloadavg()[0]
    found = run(measure(given, Console(stderr=True)))
    if given.profile:
        profile.disable()
        profile.dump_stats(given.profile)
    ideal = given.in_flight / given.document_s
    result: dict[str, Any] = {"documents": given.documents, "ideal_per_s": ideal, "stuck_s": given.stuck_s}
    result |= {"repeats": given.repeats, "load_before": round(before, 2)}
    sides = {name: turns for name, turns in found.items() if name != "members"}
    result |= figures(sides, ideal)
    Console().print(table(sides, ideal))
    if "stuck_cost" in result:
        own = f", those of its own partition {result['stuck_cost_own']:.1%}" if "stuck_cost_own" in result else ""
        Console().print(f"one document of {given.stuck_s} s costs the others {result['stuck_cost']:.1%}{own}")
    if "members" in found:
        stalls = found["members"]["stalls_s"]
        result["members"] = {**found["members"], "stalls_s": [round(one, 3) for one in stalls]}
        Console().print(
            f"{len(stalls)} changes of members: stall median {median(stalls):.2f} s, longest {stalls[-1]:.2f} s;"
            f" {found['members']['again']} documents done again"
        )
    last_line(result)


if __name__ == "__main__":
    program(main)
