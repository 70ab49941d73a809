"""What would a team use instead, and how does it compare? The same documents, student, prompts and machine for all.

Scoring: `vllm.LLM.generate`; `vllm serve` with a plain asyncio client, with datatrove's InferenceRunner and with Ray
Data LLM's HTTP processor; this project with its engine in process and with the same server. Documents/s from the first
document begun to the last result stored, start excluded; a dead letter is no result. Peak memory (PSS) of all processes
that take part, that of Kafka's JVM apart. Then each is killed with SIGKILL when half of the tokens are generated, and
started again; then one document of it that fits no context is put among the others. Sides take turns in an order that
has each follow each other one equally often over as many rounds as there are sides, all behind a rest; the first round
is not counted, medians of the others. Where more documents are asked for than are held out, they come again under other
ids: that is for what a kill costs.

Passing on: records of 1 kB from topic to topic without work, and with 50 ms of waiting each, until a reader that trusts
only commits has them all; every side that can be told to commits after 0.2 s at the latest. aiokafka alone is the
limit. DSIR beside its authors' has a file of its own (dsir.py).

Peers are installed where they are needed, each in an environment of its own under --environments. Prints tables; the
last line is one JSON object.

    python bench/peers.py --part judge --documents 300 --repeats 3
    python bench/peers.py --part pass --records 400000 --waiting-records 9000 --repeats 3
"""

import itertools
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from mira_stream.benching.alternating import REST_S
from mira_stream.benching.sources import in_turn
from mira_stream.broker_local import Runtime
from mira_stream.broker_local.embedded import living
from mira_stream.chance import is_heldout
from mira_stream.config import Project, load_project
from mira_stream.demo.corpora import documents
from mira_stream.errors import UsageError
from mira_stream.messages import Document, encode
from mira_stream.openai_engine import OpenAIEngine
from mira_stream.records import Record
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.service import log_to_stderr
from mira_stream.vllm_engine.starter import ENVIRONMENT, engine_arguments

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command import DEMO_PROJECT
from bench.command.arguments import Parser, at_least, folder, new_folder, positive, project_of, seconds
from bench.command.ending import program, run
from bench.command.last_line import last_line
from bench.peering import judging, passing
from bench.peering.judged import Measured, Work
from bench.peering.judging import Judging, judge_all
from bench.peering.passing import Passed, Passing, pass_all
from bench.peering.serving import Server, serving

PARTS: Final = ("judge", "pass")
DOCUMENTS_MIN: Final = 10
RECORDS_MIN: Final = 100
KEPT: Final = "stopped: nothing of this run is kept but what was installed under --environments"
AGAIN: Final = "#again-"
"""In the id of a document that comes again."""
IN_FLIGHT: Final = 256
"""Records that wait at once."""


def heldout(project: Project, group: str, count: int) -> list[Document]:
    """So many held-out documents of the group, in turn from its sources, and more of the others where one has no more;
    where there are fewer in all, they come again under other ids. Raises UsageError when there are none."""
    sources = (documents(name, count, is_heldout) for name in project.settings.sources_of(group))
    found = list(itertools.islice(in_turn(sources), count))
    if not found:
        raise UsageError("documents_none", f"group {group} has no held-out documents here", "name another --group")
    again = (replace(one, id=f"{one.id}{AGAIN}{turn}") for turn in itertools.count(2) for one in found)
    return [*found, *itertools.islice(again, count - len(found))]


def distinct(found: Sequence[Document]) -> int:
    return sum(AGAIN not in one.id for one in found)


def asked(project: Project, group: str, found: Sequence[Document], server: Server) -> dict[str, dict[str, Any]]:
    """What the scorer would ask a server about each, by document id."""
    engine = OpenAIEngine([server.base_url], server.model, student=project.student_path(group))
    factory = ScoringFactory(project, group, engine, Metrics())
    bodies = {}
    for at, one in enumerate(found):
        view = factory.prepare(Record("t", 0, at, 0, None, encode(one))).view
        bodies[one.id] = engine.body(factory.judge.request(view.text, one.id, str(at)))
    return bodies


async def judge(
    given: Namespace, project: Project, found: list[Document], kafka: Runtime, folder: Path, console: Console
) -> list[Measured]:
    arguments = engine_arguments(project.student_path(given.group), project.settings.groups[given.group])
    async with AsyncExitStack() as stack:
        if given.base_url:
            server = Server(given.base_url, given.model)
            await server.forget()  # one that cannot is refused before anything is measured
        else:
            console.print("starting vllm serve")
            server = await stack.enter_async_context(serving(arguments, given.model, folder))
        bodies = asked(project, given.group, found, server)
        console.print(f"{len(found)} held-out documents of group {given.group}{said_again(given)}")
        work = Work(
            given.project,
            given.group,
            found,
            bodies,
            arguments,
            given.in_flight,
            kafka.bootstrap_servers,
            server,
            folder,
            given.limit_s,
            (kafka.pid,),
        )
        sides = [side for side in judging.SIDES if side.name in given.only]
        return await judge_all(Judging(work, given.environments), sides, given.repeats, console.print, given.rest_s)


async def measure(given: Namespace, console: Console) -> dict[str, Any]:
    """Everything that was asked for, by part."""
    found: dict[str, Any] = {}
    project = load_project(given.project, environment={})
    judged = heldout(project, given.group, given.documents) if "judge" in given.part else []
    given.distinct = distinct(judged)
    with tempfile.TemporaryDirectory() as folder:
        async with living(Path(folder) / "broker") as (kafka, _):
            if "judge" in given.part:
                found["judge"] = await judge(given, project, judged, kafka, Path(folder) / "judge", console)
            if "pass" in given.part:
                sides = [side for side in passing.SIDES if side.name in given.only]
                for records, document_s in ((given.records, 0.0), (given.waiting_records, 0.05)):
                    name = f"pass_{document_s:g}"
                    one = Passing(
                        kafka.bootstrap_servers, name, Path(folder) / name, given.environments, IN_FLIGHT, given.limit_s
                    )
                    found[name] = await pass_all(
                        one, sides, records, document_s, given.repeats, console.print, given.rest_s
                    )
    return found


def said_again(given: Namespace) -> str:
    """What is to be said where documents are repeated."""
    if given.distinct == given.documents:
        return ""
    return (
        f", {given.distinct} of them distinct, the others the same again under other ids: their prompts may be cached,"
        " so compare tokens, not rates, with those of other numbers of documents"
    )


def ended(status: int | None) -> str:
    return "never ended" if status is None else f"status {status}"


def judge_table(measured: Sequence[Measured], documents: int) -> Table:
    table = Table("side", "documents/s", "seconds of each turn", "peak MiB, and Kafka's",
                  "tokens after a kill / of one pass", "missing, twice; refused",
                  "others scored beside the poison; refused", "what it said")  # fmt: skip
    for one in measured:
        rate, killed, poisoned = one.rate(documents), one.killed, one.poisoned
        table.add_row(
            one.side.name,
            one.failed[:80] if rate is None else f"{rate:.1f}",
            "  ".join(f"{value:.2f}" for value in one.seconds),
            f"{one.peak_mib:,.0f}" + (f" + {one.broker_mib:,.0f}" if one.broker_mib else ""),
            "" if killed is None or killed.ratio is None else f"{killed.ratio:.2f}",
            "" if killed is None else f"{killed.missing}, {killed.twice}; {killed.refused}, {ended(killed.status)}",
            ""
            if poisoned is None
            else f"{poisoned.others} of {documents}, {'also' if poisoned.scored else 'not'} the poison;"
            f" {poisoned.refused}, {ended(poisoned.status)}",
            one.failed[:120] or ("" if poisoned is None or poisoned.status == 0 else poisoned.said[:120]),
        )
    return table


def pass_table(passed: Sequence[Passed], records: int) -> Table:
    table = Table("side", "guarantee", "records/s", "seconds of each turn", "peak MiB", "killed at", "missing, twice")
    for one in passed:
        rate = one.rate(records)
        table.add_row(
            one.side.name,
            one.side.guarantee,
            one.failed[:80] if rate is None else f"{rate:,.0f}",
            "  ".join(f"{value:.2f}" for value in one.seconds),
            f"{one.peak_mib:,.0f}",
            "" if one.killed_at is None else f"{one.killed_at:,} of {records:,}",
            "" if one.lost is None else f"{one.lost[0]}, {one.lost[1]}",
        )
    return table


def result(given: Namespace, found: dict[str, Any]) -> dict[str, Any]:
    """What the last line says."""
    block: dict[str, Any] = {"repeats": given.repeats}
    if "judge" in found:
        block |= {"documents": given.documents, "documents_distinct": given.distinct}
    for part, rows in found.items():
        count = {"judge": given.documents, "pass_0": given.records}.get(part, given.waiting_records)
        block[part] = {
            row.side.name: {"per_s": row.rate(count), "peer": row.side.environment.versions, **_plain(row)}
            for row in rows
        }
    return block


def _plain(row: Measured | Passed) -> dict[str, Any]:
    """Its fields, without the side."""
    return {
        name: value._asdict() if hasattr(value, "_asdict") else value
        for name, value in row._asdict().items()
        if name != "side"
    }


def parse_arguments(arguments: Sequence[str] | None = None) -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "--documents", type=at_least(DOCUMENTS_MIN), default=300, help="more than there are: they come again"
    )
    parser.add_argument("--records", type=at_least(RECORDS_MIN), default=400_000, help="passed on without work")
    parser.add_argument(
        "--waiting-records", type=at_least(RECORDS_MIN), default=9_000, help="passed on with 50 ms each"
    )
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--rest-s", type=at_least(0.0), default=REST_S, help="before each turn")
    parser.add_argument("--group", default="text")
    parser.add_argument("--in-flight", type=positive, default=128)
    parser.add_argument("--limit-s", type=seconds, default=300.0, help="so long a program may take; longer has failed")
    parser.add_argument("--part", action="append", choices=PARTS, help="again for more; default: all")
    of_part = {"judge": [side.name for side in judging.SIDES], "pass": [side.name for side in passing.SIDES]}
    names = [name for some in of_part.values() for name in some]
    parser.add_argument("--only", action="append", choices=names, help="one side; again for more")
    parser.add_argument("--project", type=folder, default=DEMO_PROJECT)
    parser.add_argument(
        "--base-url",
        help="a server that runs already and empties its prefix cache when asked; without it vllm serve is started",
    )
    parser.add_argument("--model", default="student", help="by what name the server knows the student")
    parser.add_argument("--environments", type=new_folder, default="build/peers")
    given = parser.parse_args(arguments)
    given.part, given.only = given.part or list(PARTS), given.only or names
    for part in given.part:
        if not {*of_part[part]} & {*given.only}:
            parser.error(f"--only names no side of part {part}, name one of {', '.join(of_part[part])}")
    if "judge" in given.part:
        project_of(parser, given.project, [given.group])
    given.environments, given.distinct = given.environments.absolute(), given.documents
    return given


def main() -> None:
    given = parse_arguments()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # the server lets its prefix cache be emptied
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)  # for the programs that are this project's own
    log_to_stderr()
    console = Console(stderr=True)
    found = run(measure(given, console))
    for part, rows in found.items():
        count = {"pass_0": given.records}.get(part, given.waiting_records)
        Console(width=200).print(
            judge_table(rows, given.documents) if part == "judge" else pass_table(rows, count),
            part + (said_again(given) if part == "judge" else ""),
        )
    last_line(result(given, found))


if __name__ == "__main__":
    program(main, KEPT)
