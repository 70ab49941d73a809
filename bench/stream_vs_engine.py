"""Does the stream keep the engine busy? Documents/s through Kafka, exactly once, beside the same engine without it.

`LLM.generate` gets all prompts at once, ready-made; AsyncLLM gets them ready-made, too, as many at once as the stream
has in flight, and once more in batches as large as the engine has places, each waiting for its last reply. The stream
renders, cuts and tokenises, and its clock runs from the first document begun to the last score card committed.

Sets: documents of one length, documents of lengths 1:50, replies of lengths 1:50 (a grammar makes the student talk
on; the card that is passed on is scripted); and such replies of an engine that waits instead of computing, scripted
as a whole: what waiting for the last of a batch costs depends on what a fuller batch costs. Sides take turns in an
order that has each follow each other one over four counted rounds, all behind a rest, since a worker of vLLM spins for
a second behind its last step; prefix caches are emptied before each. The first round is not counted; a ratio is taken
within its round. Of each turn the CPU time of this process, the engine's and Kafka's is told, how long the engine's
processes waited for a core, and of the stream's the longest block of its event loop. vLLM binds its worker's threads to
all cores but the last, and lets everything else run there, too; with `--apart` the engines' processes have those cores
for themselves and everything else the last, as on a machine whose engine has a GPU: what a side asks of the CPU then
takes nothing from the engine.
Prints a table; the last line is one JSON object.

    python bench/stream_vs_engine.py --documents 400 --repeats 4 --group text
"""

import asyncio
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mira_stream.consumers.scorer import build_engine
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from mira_stream.broker_local import embedded
from mira_stream.chance import is_heldout
from mira_stream.config import Project
from mira_stream.demo.corpora import documents
from mira_stream.streaming.service import log_to_stderr
from mira_stream.vllm_engine import VllmEngine, engine_arguments
from mira_stream.vllm_engine.starter import ENVIRONMENT

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.busy.processes import ASYNC_CORE, KAFKA, LLM_CORE, Processes
from bench.busy.sets import NAMES, WAITED, Asked, asked
from bench.busy.sides import Sides, Took
from bench.busy.waiting import Waiting
from bench.command import DEMO_PROJECT
from bench.command.arguments import Parser, at_least, folder, positive, project_of
from bench.command.ending import program, run
from bench.command.last_line import last_line
from mira_stream.benching.alternating import REST_S, order

if TYPE_CHECKING:
    from vllm import LLM

DOCUMENT_TOKENS, CONTEXT_TOKENS = 1_480, 2_048
"""Room for the longest documents."""
OFFLINE, ALONE, BATCHES, STREAM = SIDES = ("LLM.generate", "AsyncLLM alone", "AsyncLLM in batches", "stream")

COLUMNS = ("CPU here, ms", "CPU engine, ms", "CPU Kafka, ms", "engine waits, ms")
"""A document, the fields of Cpu."""

Call = Callable[[], Awaitable[Took]]
Turns = Mapping[str, Mapping[str, Sequence[Took]]]
"""By set and side."""


def roomy(project: Project, group: str) -> Project:
    settings = project.settings
    section = replace(settings.groups[group], document_tokens_max=DOCUMENT_TOKENS, context_tokens_max=CONTEXT_TOKENS)
    return Project(project.root, replace(settings, groups={**settings.groups, group: section}))


def offline_engine(project: Project, group: str) -> "LLM":
    """Not from within the loop: a stop could not end a thread that waits for it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from vllm import LLM

    return LLM(**engine_arguments(project.student_path(group), project.settings.groups[group]))


async def measure(given: Namespace, llm: "LLM", console: Console) -> Turns:
    """`llm` has ended afterwards."""
    processes = Processes()
    processes.name(LLM_CORE)
    project, group = given.project, given.group
    engine = build_engine(project, group)
    assert isinstance(engine, VllmEngine)
    try:
        sources = project.settings.sources_of(group)
        found = [one for name in sources for one in documents(name, given.documents // len(sources), is_heldout)]
        console.print(f"texts of {', '.join(sources)}")
        await engine.start()
        processes.name(ASYNC_CORE)
        if given.apart:
            processes.bind_apart()
        with tempfile.TemporaryDirectory() as folder:
            async with embedded(Path(folder)) as bootstrap:
                processes.name(KAFKA)
                sides = Sides(project, group, bootstrap, llm, engine, processes)
                waiting = Waiting(project, group, bootstrap, processes)
                sets = [asked(name, found, given.documents) for name in given.sets]
                return {one.name: await turns(sides, waiting, one, given, console) for one in sets}
    finally:
        llm.llm_engine.engine_core.shutdown()  # else its processes live as long as this one
        await engine.stop()


async def turns(
    sides: Sides, waiting: Waiting, wanted: Asked, given: Namespace, console: Console
) -> dict[str, list[Took]]:
    prompts = sides.prompts(wanted)
    calls: dict[str, Call] = {
        OFFLINE: lambda: sides.offline(prompts),
        ALONE: lambda: sides.alone(prompts),
        BATCHES: lambda: sides.batches(prompts),
        STREAM: lambda: sides.stream(wanted),
    }
    if wanted.name == WAITED:
        requests = [one.request for one in prompts]
        calls = {BATCHES: lambda: waiting.batches(requests), STREAM: lambda: waiting.stream(wanted)}
    took: dict[str, list[Took]] = {side: [] for side in calls}
    for turn in range(given.repeats + 1):
        for side in order([*calls], turn):
            await sides.forget()
            await asyncio.sleep(given.rest_s)
            one = await calls[side]()
            console.print(f"{wanted.name}, round {turn}: {side} {one.seconds:.2f} s")
            if turn:
                took[side].append(one)
    return took


def ratio(took: Mapping[str, Sequence[Took]], over: str) -> float:
    """The stream's rate over another side's, median of the rounds."""
    pairs = zip(took[over], took[STREAM], strict=True)
    return median(other.seconds / stream.seconds for other, stream in pairs)


def table(found: Turns, documents: int) -> Table:
    shown = Table(
        "set", "side", "documents/s", "stream over it", *COLUMNS, "seconds", "longest block, ms",
    )  # fmt: skip
    for name, took in found.items():
        for side, turns in took.items():
            shown.add_row(
                name,
                side,
                f"{documents / median(one.seconds for one in turns):.2f}",
                "" if side == STREAM else f"{ratio(took, side):.3f}",
                *(f"{median(each) / documents * 1e3:.2f}" for each in zip(*(one.cpu for one in turns), strict=True)),
                " ".join(f"{one.seconds:.2f}" for one in turns),
                " ".join(f"{one.block_s * 1e3:.0f}" for one in turns if one.block_s is not None),
            )
    return shown


def result(found: Turns, given: Namespace) -> dict[str, Any]:
    """The last line: by set, seconds of each side's turns, the stream's rate over each, and the longest block of its
    event loop in each turn."""
    return {
        "documents": given.documents,
        "group": given.group,
        "repeats": given.repeats,
        "apart": given.apart,
        "sets": {
            name: {
                "seconds": {side: [round(one.seconds, 3) for one in turns] for side, turns in took.items()},
                "cpu_s": {side: [cpu_of(one) for one in turns] for side, turns in took.items()},
                "ratio": {side: round(ratio(took, side), 4) for side in took if side != STREAM},
                "longest_block_s": [round(one.block_s, 4) for one in took[STREAM] if one.block_s is not None],
            }
            for name, took in found.items()
        },
    }


def cpu_of(one: Took) -> dict[str, float]:
    return {whose: round(seconds, 3) for whose, seconds in one.cpu._asdict().items()}


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--documents", type=positive, default=300)
    parser.add_argument("--repeats", type=positive, default=4)
    parser.add_argument("--rest-s", type=at_least(0.0), default=REST_S, help="before each turn")
    parser.add_argument("--group", default="text")
    parser.add_argument("--apart", action="store_true", help="leave the cores that vLLM computes on to it")
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--project", type=folder, default=DEMO_PROJECT)
    given = parser.parse_args(argv)
    given.project = roomy(project_of(parser, given.project, [given.group]), given.group)
    if given.apart and len(os.sched_getaffinity(0)) < 2:
        parser.error("--apart needs two cores, leave it out")
    sources = given.project.settings.sources_of(given.group)
    if given.documents < len(sources):
        parser.error(f"--documents {given.documents} leaves a source of {', '.join(sources)} without any, ask for more")
    return given


def main() -> None:
    given = parse_arguments()
    log_to_stderr()
    console = Console(stderr=True)
    console.print("starting two engines")
    llm = offline_engine(given.project, given.group)
    found = run(measure(given, llm, console))
    Console().print(table(found, given.documents))
    last_line(result(found, given))


if __name__ == "__main__":
    program(main)
