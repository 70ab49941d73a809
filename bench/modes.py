"""How fast is each scoring mode, and what does it keep? One student, one engine, the same views, modes in turn.

By source group and prompt length: documents/s of the scorer's own judge (prompt, engine, parser), tokens it generates,
mean rho and MAE, selection gain and overlap with the teacher's of these documents, and how many scores are those of
`rationale`. Prefix caches are emptied before each turn, which follows a rest, since a worker of vLLM spins for a second
behind its last step. A ratio is taken within its round, the median of the rounds counts.

`mira-stream bench modes` is the user's: a project's modes as they are served, an engine each, with the gain that the
reliability table holds. This one asks what a mode can save at all, so it sets what a project does not: prompt lengths,
a single token, replies of a given length, all to one engine.

`one token` is the limit: the same prompts to the same student, which says a single token, unread. `head` has an engine
of its own beside the other and a student of its own: the project's, or that of `--heads FOLDER/<group>.head`; where
there is none it is left out (mira-stream distill --head makes it).

The demo's students were taught the score block alone, so `rationale` is a stand-in here: the grammar makes them go on
behind it, for `--reply-tokens` in all (0: as many as the demo's teacher writes, whose justifications are terse). What
they say there means nothing; what it costs is what a reply of that length costs. Prompts beyond the students' context
run on a copy whose config.json allows up to 4,096 tokens with their reply: right for speed, not for scores. What is
longer is refused; where documents are too short for a length, or what stands around them too long, a line says so.

    python bench/modes.py --documents 32 --repeats 3 --groups text --lengths 400 2000 --reply-tokens 315
"""

import asyncio
import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.command import DEMO_PROJECT, ending
from bench.command.arguments import Parser, at_least, folder, positive, project_of
from bench.command.last_line import last_line
from bench.mode_parts.rows import Row, Turn, length_notes, row
from bench.mode_parts.sides import CONTEXT, HEAD_WAY, KINDS, Served, Side, engines, head_of, sides
from bench.mode_parts.views import View, reply_tokens, views
from mira_stream.benching.alternating import REST_S, order
from mira_stream.config import Project
from mira_stream.errors import UsageError
from mira_stream.scoring.engine import Request
from mira_stream.streaming.service import log_to_stderr


async def turn(side: Side, seen: Sequence[View], name: str) -> Turn:
    """All views at once, as many in work as the engine takes."""
    await side.engine.reset_prefix_cache()
    started = time.perf_counter()
    judged = await asyncio.gather(
        *(side.judge.judge(view.text, view.id, f"{name}-{number}") for number, view in enumerate(seen))
    )
    return Turn(time.perf_counter() - started, list(judged))


async def measure(
    project: Project,
    group: str,
    length: int,
    engine: Served,
    head: Served | None,
    plan: Namespace,
    say: Callable[[str], None],
) -> Iterator[Row]:
    """The rows of one group and length; each mode's first turn is not counted. Raises UsageError(length_beyond)."""
    seen = views(project, group, length, plan.documents, engine)
    room = plan.reply_tokens or reply_tokens(project, group, seen, engine)
    if over := beyond(length, room):
        raise UsageError("length_beyond", f"group {group}: {over}", "ask for shorter prompts or replies")
    asked = sides(project, group, engine, head, room)
    kinds = [kind for kind in KINDS if kind in asked and (plan.kinds is None or kind in plan.kinds)]
    turns: dict[str, list[Turn]] = {kind: [] for kind in kinds}
    for number in range(plan.repeats + 1):
        for kind in order(kinds, number):
            await asyncio.sleep(plan.rest_s)
            one = await turn(asked[kind], seen, f"{group}-{length}-{kind}-{number}")
            say(f"{group} {length}: turn {number} {kind} {one.seconds:.2f} s{'' if number else ' (not counted)'}")
            if number:
                turns[kind].append(one)
    return (row(project, group, length, kind, seen, turns) for kind in kinds)


def beyond(length: int, room: int) -> str:
    """Why prompts of that length with such a reply cannot be asked; empty where they can."""
    if length + room <= CONTEXT:
        return ""
    return f"prompts of {length:,} tokens and {room:,} for the reply exceed the {CONTEXT:,} that a student takes here"


def table(rows: Sequence[Row]) -> Table:
    columns = (
        *("documents/s", f"over {rows[0].over} (least)", "over one token", "reply tokens"),
        *("rho", "MAE", "gain of these", "overlap of these", "scores as in rationale"),
    )
    shown = Table("group", "tokens asked for", "prompt tokens", "the document's", "mode", *columns)
    for one in rows:
        found = (one.rho, one.mae, one.gain_of_these, one.overlap_of_these)
        shown.add_row(
            one.group,
            f"{one.length}",
            f"{one.prompt_tokens:.0f}",
            f"{one.document_tokens:.0f}",
            one.mode,
            f"{one.documents_per_s:.2f}",
            f"{one.ratio:.2f} ({'-' if one.ratio_least is None else f'{one.ratio_least:.2f}'})",
            _or_dash(one.of_one_token, ".2f"),
            f"{one.reply_tokens:.0f}",
            *(_or_dash(value, ".3f") for value in found),
            _or_dash(one.same_scores, ".2%"),
        )
    return shown


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


async def run(arguments: Namespace, say: Callable[[str], None]) -> list[Row]:
    project, rows = arguments.project, list[Row]()
    for group in arguments.groups:
        with tempfile.TemporaryDirectory() as folder:
            engine, head = engines(project, group, arguments, Path(folder), say)
            started = [one for one in (engine, head) if one is not None]
            async with AsyncExitStack() as stack:
                for one in started:
                    stack.push_async_callback(one.stop)  # one that does not start, too, and those before it
                    await one.start()
                if not arguments.scripted:
                    await engine.generate(Request("warm", [{"role": "user", "content": "a document"}], 8))
                for length in arguments.lengths:
                    rows += await measure(project, group, length, engine, head, arguments, say)
    return rows


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--documents", type=at_least(2), default=96)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--groups", nargs="+", default=["text"])
    parser.add_argument("--lengths", nargs="+", type=positive, default=[400, 2000])
    parser.add_argument("--reply-tokens", type=at_least(0), default=0)
    parser.add_argument("--project", type=folder, default=DEMO_PROJECT)
    parser.add_argument("--heads", type=folder, help="the folder of <group>.head (default: the project's)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="only these")
    parser.add_argument("--rest-s", type=at_least(0.0), default=REST_S, help="before each turn")
    parser.add_argument("--scripted", action="store_true", help="no model: only whether this script works")
    given = parser.parse_args(argv)
    given.project = project_of(parser, given.project, given.groups)
    for group in given.groups:
        room = max(given.reply_tokens, given.project.settings.groups[group].reply_tokens_max)
        if over := beyond(max(given.lengths), room):
            parser.error(f"{over}: give shorter --lengths")
    for group in given.groups if "head" in (given.kinds or ()) else ():
        path = head_of(given.project, group, given.heads)
        if not path.is_dir() and not given.scripted:
            parser.error(f"group {group} has no head in {path}: {HEAD_WAY.format(group)} makes one")
    return given


def main() -> None:
    arguments = parse_arguments()
    console = Console(stderr=True)
    log_to_stderr()
    before = os.getloadavg()[0]
    rows = ending.run(run(arguments, console.print))
    engine = "scripted stand-in, no model: speed means nothing" if arguments.scripted else "vllm"
    Console(width=160).print(table(rows))
    notes = length_notes(rows)
    print(f"engine: {engine}", *notes, sep="\n")
    result = {
        "engine": engine,
        "rationale": "stand-in: its length is forced by the grammar, the student was taught the score block alone",
        "repeats": arguments.repeats,
        "notes": notes,
        "load_before": round(before, 2),
        "load_behind": round(os.getloadavg()[0], 2),
        "rows": [one._asdict() for one in rows],
    }
    last_line(result)


if __name__ == "__main__":
    ending.program(main)
