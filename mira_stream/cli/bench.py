"""`mira-stream bench stream | engine | kafka | modes | tune | compare`: how fast this project is on this machine."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from mira_stream.benching.load import DOCUMENTS_MAX
from mira_stream.cli.bench_modes import modes
from mira_stream.cli.bench_tune import tune
from mira_stream.cli.options import JsonOption, ProjectOption, RunsOption, given

if TYPE_CHECKING:
    from mira_stream.benching.flow import Given
    from mira_stream.benching.result import Kind
    from mira_stream.config import Project
    from mira_stream.messages import Document

OUTSTANDING: Final = 4
"""Times an engine's own limit: while some results wait for their transaction, the engine has work."""
OUTSTANDING_KAFKA: Final = 2_000
DISTINCT_MAX: Final = 2_000
RATE_MAX: Final = 1_000_000.0
SECONDS_MAX: Final = 1e6
"""Beyond them a number is a slip."""

app = typer.Typer(
    no_args_is_help=True,
    help="Measure this project's speed: the whole stream, its engine alone, or Kafka with a stand-in engine.",
)
app.command()(modes)
app.command()(tune)
GroupOption = Annotated[
    list[str] | None, typer.Option("--group", "-g", help="A source group to measure; again for more. Default: all.")
]
DocumentsOption = Annotated[
    int,
    typer.Option(
        "--documents",
        min=1,
        max=DOCUMENTS_MAX,
        help="Documents a repetition. With --ramp: so many different ones at most.",
    ),
]
RepeatOption = Annotated[int, typer.Option("--repeat", min=1, help="Repetitions; medians of them are the result.")]
OutstandingOption = Annotated[
    int, typer.Option("--outstanding", min=0, help="Closed loop: documents without outcome at a time (0: as fits).")
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate",
        min=0.001,
        max=RATE_MAX,
        help="Open loop: documents a second, as a Poisson process. With --ramp: where the search begins (default: 1).",
    ),
]
RampOption = Annotated[
    bool,
    typer.Option(
        "--ramp",
        help="Search the highest rate that it keeps up with, p99 under --p99-ms; ends where no lower rate helps.",
    ),
]
P99Option = Annotated[
    float, typer.Option("--p99-ms", min=1, max=1000 * SECONDS_MAX, help="The limit of --ramp, in milliseconds.")
]
StepOption = Annotated[
    float | None,
    typer.Option(
        "--step-s",
        max=SECONDS_MAX,
        help="How long --ramp offers each rate, in seconds: at least 20, and 4 times the limit.",
    ),
]


class Asked(NamedTuple):
    """The options that `stream`, `engine` and `kafka` share, by name, and the one that is `kafka`'s own."""

    project: Path
    group: list[str] | None
    documents: int
    repeat: int
    outstanding: int
    rate: float | None
    ramp: bool
    p99_ms: float
    step_s: float | None
    out: Path | None
    json: bool
    reply_s: float = 0.0


@app.command()
def stream(
    context: typer.Context,
    project: ProjectOption = Path(),
    group: GroupOption = None,
    documents: DocumentsOption = 400,
    repeat: RepeatOption = 5,
    outstanding: OutstandingOption = 0,
    rate: RateOption = None,
    ramp: RampOption = False,
    p99_ms: P99Option = 30_000.0,
    step_s: StepOption = None,
    out: RunsOption = None,
    json: JsonOption = False,
) -> None:
    """The whole way: produced, scored by the project's own engines, decided, over a Kafka of the bench's own."""
    asked = Asked(
        project=project, group=group, documents=documents, repeat=repeat, outstanding=outstanding, rate=rate,
        ramp=ramp, p99_ms=p99_ms, step_s=step_s, out=out, json=json,
    )  # fmt: skip
    _run(context, "stream", asked)


@app.command()
def engine(
    context: typer.Context,
    project: ProjectOption = Path(),
    group: GroupOption = None,
    documents: DocumentsOption = 400,
    repeat: RepeatOption = 5,
    outstanding: OutstandingOption = 0,
    rate: RateOption = None,
    ramp: RampOption = False,
    p99_ms: P99Option = 30_000.0,
    step_s: StepOption = None,
    out: RunsOption = None,
    json: JsonOption = False,
) -> None:
    """The project's engines and prompts without Kafka: the bound of the stream."""
    asked = Asked(
        project=project, group=group, documents=documents, repeat=repeat, outstanding=outstanding, rate=rate,
        ramp=ramp, p99_ms=p99_ms, step_s=step_s, out=out, json=json,
    )  # fmt: skip
    _run(context, "engine", asked)


@app.command()
def kafka(
    context: typer.Context,
    project: ProjectOption = Path(),
    group: GroupOption = None,
    documents: DocumentsOption = 20_000,
    repeat: RepeatOption = 5,
    outstanding: OutstandingOption = 0,
    rate: RateOption = None,
    ramp: RampOption = False,
    p99_ms: P99Option = 5_000.0,
    step_s: StepOption = None,
    reply_s: Annotated[
        float, typer.Option("--reply-s", min=0, max=SECONDS_MAX, help="How long the stand-in takes to reply.")
    ] = 0.0,
    out: RunsOption = None,
    json: JsonOption = False,
) -> None:
    """The whole flow with a stand-in for the engine: what everything but the model costs."""
    asked = Asked(
        project=project, group=group, documents=documents, repeat=repeat, outstanding=outstanding, rate=rate,
        ramp=ramp, p99_ms=p99_ms, step_s=step_s, out=out, json=json, reply_s=reply_s,
    )  # fmt: skip
    _run(context, "kafka", asked)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A saved run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The run to set against it.")],
    json: JsonOption = False,
) -> None:
    """Two saved runs: B over A with 95 % intervals, and what else differs between them.

    The intervals hold how repetitions of a run vary (of a single one there is none), not what varies from run to run
    (load beside, the machine's state): where that may be as large as what is compared, take both runs again, in turn.
    """
    import msgspec

    from mira_stream.benching import intervals
    from mira_stream.benching.saving import load_run
    from mira_stream.cli.bench_tables import print_comparison
    from mira_stream.cli.output import emit

    found = intervals.compare(load_run(a), load_run(b))
    if json:
        emit(msgspec.to_builtins(found))
        return
    print_comparison(found)


def _check_load(context: typer.Context, *, ramp: bool, is_open: bool) -> None:
    """Raises UsageError(bench_ignored): an option that this load takes no notice of."""
    from mira_stream.errors import UsageError

    searching = given(context, ("repeat",) if ramp else ("p99_ms", "step_s"))
    closed = given(context, ("outstanding",)) if ramp or is_open else []
    if searching:
        why = "the search says itself how often a rate is offered" if ramp else "only --ramp searches a rate"
        raise UsageError("bench_ignored", f"{', '.join(searching)} would be ignored: {why}", "leave it out")
    if closed:
        why = "documents come when they are due, whatever is outstanding"
        raise UsageError("bench_ignored", f"--outstanding would be ignored: {why}", "leave it out")


def _run(context: typer.Context, kind: "Kind", asked: Asked) -> None:
    from mira_stream.benching.load import Load
    from mira_stream.benching.plot import plot
    from mira_stream.benching.ramp import RAMP_FROM, step_documents, step_seconds
    from mira_stream.benching.running import Plan, measure
    from mira_stream.benching.saving import FOLDER, check_out, save, stamp
    from mira_stream.cli.bench_tables import print_run, show_saved
    from mira_stream.cli.output import said_if_stopped, say
    from mira_stream.cli.services import chosen_groups
    from mira_stream.clock import now_ms
    from mira_stream.config import load_project
    from mira_stream.errors import UsageError
    from mira_stream.reliability.acceptance import served_modes
    from mira_stream.scoring.origin import check_there
    from mira_stream.streaming.service import run_service, until_stopped

    _check_load(context, ramp=asked.ramp, is_open=asked.rate is not None)
    project = load_project(asked.project)
    groups = chosen_groups(project, asked.group)
    for group in groups if kind != "kafka" else ():
        check_there(served_modes(project, group).project, group)
    limit = project.settings.limits.in_flight_documents * len(groups)
    most = asked.outstanding or {"stream": OUTSTANDING * limit, "engine": limit, "kafka": OUTSTANDING_KAFKA}[kind]
    step_s = step_seconds(asked.p99_ms, asked.step_s) if asked.ramp else 0.0
    step_documents(asked.rate or RAMP_FROM, step_s)
    plan = Plan(
        kind=kind,
        groups=groups,
        load=Load(documents=asked.documents, outstanding=most, rate_per_s=asked.rate),
        repetitions=asked.repeat,
        reply_s=asked.reply_s,
        ramp_p99_ms=asked.p99_ms if asked.ramp else None,
        step_s=step_s,
    )
    folder = asked.out or project.path(FOLDER)
    check_out(folder)
    documents_of = given_documents(project, groups, asked.documents)

    with said_if_stopped("stopped: nothing of this run is saved"):
        run = run_service(lambda stop: until_stopped(measure(project, plan, documents_of, stamp(now_ms()), say), stop))
    try:
        path = save(run, folder)
    except UsageError:
        print_run(run)  # what was measured is there, even if nowhere else
        raise
    try:
        plot(run, path.with_suffix(".svg"))
    except OSError as error:
        path.with_suffix(".svg").unlink(missing_ok=True)
        say(f"no plot: {error.strerror}")
    show_saved(run, path, print_run, json=asked.json, without="turns")


def given_documents(project: "Project", groups: list[str], count: int) -> "list[Given]":
    """Documents of the groups' sources, in turn from each source, and more of the others where one has no more; the
    demo's own sources are made where they have no file. At most DISTINCT_MAX: a longer turn uses them again. Raises
    CheckFailed(bench_documents), before anything is started."""
    from mira_stream.benching.flow import Given
    from mira_stream.benching.sources import in_turn
    from mira_stream.errors import CheckFailed

    wanted = min(count, DISTINCT_MAX)
    sources = [(group, name) for group in groups for name in project.settings.sources_of(group)]
    read = [(Given(group, one) for one in _documents(project, name)) for group, name in sources]
    found = list(islice(in_turn(read), wanted))
    if not found:
        names = ", ".join(name for _, name in sources) or "none"
        raise CheckFailed(
            "bench_documents",
            f"the sources of {', '.join(groups)} ({names}) hold no document to measure with",
            "give a source a path with documents in it",
        )
    return found


def _documents(project: "Project", name: str) -> "Iterator[Document]":
    from mira_stream.cli.sampled import source_documents
    from mira_stream.demo.corpora import SOURCES, documents

    path = project.settings.sources[name].path
    if (not path or not project.path(path).exists()) and name in {one.name for one in SOURCES}:
        return documents(name, DISTINCT_MAX)
    return source_documents(project, name)
