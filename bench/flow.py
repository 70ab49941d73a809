"""What does the pipe cost per document, without a model? CPU time of the process that does it, on the embedded Kafka.

Documents of 1 kB; each side is a process of its own, sides take turns in an order that has each follow each other one
equally often (over twice as many rounds as there are sides), medians count. CPU time is what a shared machine cannot
falsify: it is measured from the first documents asked for to the last result committed; rates also say what was left of
the machine.

  cost     aiokafka     the limit: aiokafka alone reads, writes the same bytes and commits, in transactions
           pass         our runner, no work at all, exactly once
           flow         the scorer's runner: consume, track, admit, produce, commit; each document waits --reply-s
           scored       the whole scorer with an engine in its process: render, cut, prompt, the prompt's tokens, parse,
                        score card; replies are canned
           scored-http  the same without the prompt's tokens, which a server makes; nor is anything sent to one
  produce  Parquet and JSONL files into Kafka; beside it aiokafka alone sends the same records, which lie in memory,
           record by record in a bare loop, which is what the goal is of, and in whole batches, which is the limit
  parse    replies a second on one core, as taught and with one mark, newline or blank that was not taught
  fetched  bytes that came in over bytes of documents that were handed on, while the engine is the bottleneck; and while
           stuck documents make partitions wait again and again
  members  one and two scorers (`scored-http`) in a consumer group, whose engines wait
  flat     memory and cost over the course of --documents documents, of `flow` and the scorers (--side), drawn to --plot

Prints tables; the last line is one JSON object.

    python bench/flow.py --part cost --part parse --part fetched --documents 40000 --repeats 5
    python bench/flow.py --part flat --side scored --documents 1000000 --limit-s 3600 --plot scored.svg
"""

import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command.arguments import Parser, at_least, new_file, new_folder, positive, seconds
from bench.command.ending import program, run
from bench.command.last_line import last_line
from bench.flowing.flat import Course, course_of, plot
from bench.flowing.job import Turn
from bench.flowing.parsing import KINDS, replies_a_second
from bench.flowing.running import Flows, write_files
from mira_stream.benching.alternating import order
from mira_stream.broker_local import embedded
from mira_stream.streaming.service import log_to_stderr

PARTS: Final = ("cost", "produce", "parse", "fetched", "members", "flat")
SIDES: Final = ("aiokafka", "pass", "flow", "scored", "scored-http")
GOALS: Final = {"flow": "≤ 60 µs", "scored": "≤ 500 µs", "scored-http": "≤ 500 µs", "pass": "≥ 40,000/s"}
FLAT: Final = {"flow", "scored", "scored-http"}
DOCUMENTS_MIN: Final = 1_000
"""With fewer a turn is over before two members have both committed."""
FORMATS: Final = ("parquet", "jsonl")
BESIDE: Final = {"a bare loop": "sends-singly", "aiokafka alone": "sends"}
"""What a file is produced beside, and the program's side."""
PRODUCE_GOAL: Final = {"a bare loop": " (rate ≥ 0.8)", "aiokafka alone": ""}
BACKPRESSURE: Final[dict[str, dict[str, object]]] = {
    "engine full": {"in_flight": 64, "reply_s": 0.02},
    "partitions paused": {
        "in_flight": 64, "reply_s": 0.02, "partition_span": 2_000, "stuck_every": 5_000, "stuck_s": 5.0,
    },
}  # fmt: skip
MEMBERS: Final = {"in_flight": 64, "reply_s": 0.2}
PARSED: Final = 40_000
Talk = Callable[[str], None]


async def cost(flows: Flows, given: Namespace, talk: Talk) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {side: [] for side in given.side}
    for number in range(given.repeats):
        for side in order(given.side, number):
            reply_s = given.reply_s if side in FLAT else 0.0
            profile = "" if given.profile is None else str(given.profile.absolute() / f"{side}.prof")
            job = flows.job(
                side, given.documents, reply_s=reply_s, in_flight=given.in_flight, profile=profile
            )  # fmt: skip
            turn = await flows.run(job)
            turns[side].append(turn)
            talk(f"turn {number + 1}: {side}: {turn.cpu_us:.1f} µs of CPU a document, {turn.rate:,.0f}/s")
    return turns


async def produce(flows: Flows, given: Namespace, folder: Path, talk: Talk) -> dict[str, list[Turn]]:
    """By `<format>` and `<format>, <what is beside it>`."""
    paths = write_files(folder, given.documents)
    sides = {"": "produce", **{f", {name}": side for name, side in BESIDE.items()}}
    turns: dict[str, list[Turn]] = {form + more: [] for form in FORMATS for more in sides}
    for number in range(given.repeats):
        for form in FORMATS:
            for more in order([*sides], number):
                turn = await flows.run(flows.job(sides[more], given.documents, path=str(paths[form])))
                turns[form + more].append(turn)
                talk(f"turn {number + 1}: {form}{more}: {turn.cpu_us:.1f} µs of CPU a document, {turn.rate:,.0f}/s")
    return turns


async def fetched(flows: Flows, given: Namespace, talk: Talk) -> dict[str, float]:
    """Bytes that came in over those that were handed on."""
    ratios = {}
    for name, how in BACKPRESSURE.items():
        turn = await flows.run(flows.job("flow", given.documents, **how))
        ratios[name] = turn.bytes_in / turn.bytes_delivered
        talk(f"{name}: {turn.bytes_in:,} bytes came in, {turn.bytes_delivered:,} were handed on")
    return ratios


async def members(flows: Flows, given: Namespace, talk: Talk) -> dict[int, list[float]]:
    """Documents a second of one and of two members, by turn: from the first to the last commit of all."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(given.repeats):
        for many in order([*rates], number):
            turns = await flows.run_members(flows.job("scored-http", given.documents, **MEMBERS), many)
            rates[many].append(rate_of(turns))
            talk(f"turn {number + 1}: {many} in the consumer group: {rates[many][-1]:,.0f}/s")
    return rates


def rate_of(turns: Sequence[Turn]) -> float:
    """Of several programs that worked at once: what came behind each one's first transaction, over all their time."""
    samples = [turn.samples[1:] for turn in turns]
    done = sum(some[-1].documents - some[0].documents for some in samples)
    return done / (max(some[-1].wall_s for some in samples) - min(some[0].wall_s for some in samples))


async def flat(flows: Flows, given: Namespace, talk: Talk) -> dict[str, Course]:
    courses = {}
    for side in given.side:
        if side in FLAT:
            job = flows.job(side, given.documents, reply_s=given.reply_s, in_flight=given.in_flight)
            courses[side] = course_of(await flows.run(job))
            talk(f"{side}: {courses[side].said()}")
    return courses


def parsed(given: Namespace) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(given.repeats):
        for kind in KINDS:
            rates[kind].append(replies_a_second(kind, given.parsed))
    return rates


async def measure(given: Namespace, talk: Talk) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "parse" in given.part:
        found["parse"] = parsed(given)
    with tempfile.TemporaryDirectory() as folder:
        if {*given.part} - {"parse"}:
            async with embedded(Path(folder) / "broker", talk=talk) as bootstrap:
                await measure_on(bootstrap, Path(folder), "bench", given, found, talk)
    return found


async def measure_on(
    bootstrap: str, folder: Path, prefix: str, given: Namespace, found: dict[str, Any], talk: Talk
) -> None:
    """What needs a broker. Adds to `found`."""
    flows = Flows(bootstrap, prefix, folder, given.limit_s)
    if "cost" in given.part:
        found["cost"] = await cost(flows, given, talk)
    if "produce" in given.part:
        found["produce"] = await produce(flows, given, folder, talk)
    if "fetched" in given.part:
        found["fetched"] = await fetched(flows, given, talk)
    if "members" in given.part:
        found["members"] = await members(flows, given, talk)
    if "flat" in given.part:
        found["flat"] = await flat(flows, given, talk)
        if given.plot is not None:
            plot(found["flat"], given.plot)


def turns_table(turns: Mapping[str, Sequence[Turn]], of: Callable[[str], str]) -> Table:
    """`of`: the last column of a side."""
    table = Table("side", "CPU a document, µs: median", "least, most", "documents/s: median", "goal or ratio")
    for side, some in turns.items():
        cpu = [turn.cpu_us for turn in some]
        rate = median(turn.rate for turn in some)
        table.add_row(side, f"{median(cpu):.1f}", f"{min(cpu):.1f}, {max(cpu):.1f}", f"{rate:,.0f}", of(side))
    return table


def ratios(turns: Mapping[str, Sequence[Turn]], form: str) -> dict[str, dict[str, float]]:
    """Of a file's rate and CPU over those of each side beside it: the more the better. Medians over the turns."""
    found = {}
    for beside in BESIDE:
        pairs = list(zip(turns[form], turns[f"{form}, {beside}"], strict=True))
        found[beside] = {
            "rate": round(median(ours.rate / bare.rate for ours, bare in pairs), 3),
            "cpu": round(median(bare.cpu_us / ours.cpu_us for ours, bare in pairs), 3),
        }
    return found


def tables(found: Mapping[str, Any]) -> list[Table]:
    made = []
    if "cost" in found:
        made.append(turns_table(found["cost"], lambda side: GOALS.get(side, "")))
    if "produce" in found:
        said = {
            f"{form}, {beside}": f"{form} over it: rate {one['rate']:.2f}, CPU {one['cpu']:.2f}{PRODUCE_GOAL[beside]}"
            for form in FORMATS
            for beside, one in ratios(found["produce"], form).items()
        }
        made.append(turns_table(found["produce"], lambda side: said.get(side, "")))
    table = Table("what", "measured", "goal")
    for kind, rates in found.get("parse", {}).items():
        table.add_row(f"parse: {kind}", f"{median(rates):,.0f} replies/s", "≥ 50,000")
    for name, ratio in found.get("fetched", {}).items():
        table.add_row(f"fetched over delivered bytes: {name}", f"{ratio:.3f}", "≤ 1.1")
    if "members" in found:
        table.add_row("two scorers over one", f"{speedup(found['members']):.2f}", "≥ 1.8")
    for side, course in found.get("flat", {}).items():
        table.add_row(f"flat: {side}", course.said(), "±5 %")
    if table.row_count:
        made.append(table)
    return made


def speedup(rates: Mapping[int, Sequence[float]]) -> float:
    return median(two / one for one, two in zip(rates[1], rates[2], strict=True))


def result(given: Namespace, found: Mapping[str, Any]) -> dict[str, Any]:
    """What the last line says."""
    block: dict[str, Any] = {
        "bench": "flow", "documents": given.documents,
        "repeats": given.repeats, "reply_s": given.reply_s, "in_flight": given.in_flight,
    }  # fmt: skip
    for part in ("cost", "produce"):
        if part in found:
            block[part] = {
                side: {
                    "cpu_us": round(median(turn.cpu_us for turn in turns), 2),
                    "per_s": round(median(turn.rate for turn in turns), 1),
                }
                for side, turns in found[part].items()
            }
    if "produce" in found:
        block["produce_ratio"] = {form: ratios(found["produce"], form) for form in FORMATS}
    if "parse" in found:
        block["parse_per_s"] = {kind: round(median(rates)) for kind, rates in found["parse"].items()}
    if "fetched" in found:
        block["fetched_over_delivered"] = {name: round(ratio, 4) for name, ratio in found["fetched"].items()}
    if "members" in found:
        block["members_per_s"] = {str(many): round(median(rates), 1) for many, rates in found["members"].items()}
        block["members_ratio"] = round(speedup(found["members"]), 3)
    if "flat" in found:
        block["flat"] = {side: course.figures() for side, course in found["flat"].items()}
    return block


def parse_arguments(arguments: Sequence[str] | None = None) -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--documents", type=at_least(DOCUMENTS_MIN), default=40_000, help="of a turn")
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--reply-s", type=at_least(0.0), default=0.05, help="how long the canned engine waits")
    parser.add_argument("--in-flight", type=positive, default=256)
    parser.add_argument("--part", action="append", choices=PARTS, help="again for more; default: all")
    parser.add_argument("--side", action="append", choices=SIDES, help="of cost and flat; again for more; default: all")
    parser.add_argument("--parsed", type=positive, default=PARSED, help="replies of a turn")
    parser.add_argument("--limit-s", type=seconds, default=600.0, help="so long a program may take; longer has failed")
    parser.add_argument("--plot", type=new_file, help="where the course of `flat` is drawn (SVG)")
    parser.add_argument(
        "--profile", type=new_folder, help="a folder for a cProfile of each side of `cost`: figures are void"
    )
    given = parser.parse_args(arguments)
    given.part, given.side = given.part or list(PARTS), given.side or list(SIDES)
    if given.part == ["flat"] and not FLAT & {*given.side}:
        parser.error(f"--part flat is of {' and '.join(sorted(FLAT))}, name one of them with --side")
    for option, part in (("plot", "flat"), ("profile", "cost")):
        if getattr(given, option) is not None and part not in given.part:
            parser.error(f"--{option} is of --part {part}, which is not asked for: leave it out")
    return given


def main() -> None:
    given = parse_arguments()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    log_to_stderr()
    console = Console(stderr=True)
    found = run(measure(given, lambda line: console.print(line, markup=False, soft_wrap=True)))
    for table in tables(found):
        Console(width=140).print(table)
    last_line(result(given, found))


if __name__ == "__main__":
    program(main)
