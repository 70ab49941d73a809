"""`mira-stream reliability`: how far a student agrees with its teacher; `reliability watch` goes on while streaming."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mira_stream.cli.main import Entry, LazyCommand
from mira_stream.cli.options import JsonOption, MaxCostOption, MaxTokensOption, ProjectOption
from mira_stream.cli.output import emit, talk

if TYPE_CHECKING:
    from mira_stream.cli.measuring import HeldOut, Measurement
    from mira_stream.config import Project
    from mira_stream.reliability.table import Cell, ModeReliability, Retest
    from mira_stream.rubric.anchors import Rubric

GroupOption = Annotated[str | None, typer.Option("--group", "-g", help="The source group.")]
LabelsOption = Annotated[
    Path | None,
    typer.Option("--labels", help="The file of labels (default: where `label` writes them)."),
]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")]
RetestOption = Annotated[
    int,
    typer.Option("--retest", min=0, help="Let the teacher judge so many held-out views a second time: its ceiling."),
]
ServedOption = Annotated[
    bool,
    typer.Option("--served", help="Ask the student through the group's engine, as it is served (always, if openai)."),
]
WATCH = Entry("watch", "watch", "", "While streaming: a share of what is decided goes to the teacher, too.")
LETTERS = {"reliable": "R", "unreliable": "u", "undecided": "?", "no_variance": "-"}
"""One letter a verdict; r and u in small are by the group's help."""


class ReliabilityGroup(TyperGroup):
    """Measures by itself; `watch` is imported only when it is used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {**self.commands, "watch": LazyCommand("watch", WATCH)}


app = typer.Typer(cls=ReliabilityGroup, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.callback(invoke_without_command=True)
def reliability(
    context: typer.Context,
    group: GroupOption = None,
    project: ProjectOption = Path(),
    labels: LabelsOption = None,
    threads: ThreadsOption = 2,
    served: ServedOption = False,
    retest: RetestOption = 0,
    max_cost: MaxCostOption = None,
    max_tokens: MaxTokensOption = None,
    json: JsonOption = False,
) -> None:
    """Run the student over held-out labels: which dimensions of which source can be relied on.

    Writes reliability/<group>.json (the mask comes from it), the measured labels, and reports/reliability-<group>.html.
    """
    if context.invoked_subcommand is not None:
        return
    from mira_stream.cli.labels_place import labelling_again, labels_with_views
    from mira_stream.cli.measuring import check_student, measure_group, read_held_out
    from mira_stream.prompt import load_prompt
    from mira_stream.rubric.anchors import load_rubric

    loaded, name = _chosen(project, group)
    rubric = load_rubric(loaded.rubric_path(name))
    file = labels or labels_with_views(loaded, name)
    prompt = load_prompt(loaded.prompts_path(name), rubric)
    held_out = read_held_out(file, rubric.version, prompt, labelling_again(loaded, name, file))
    check_student(loaded, name, rubric)
    again = _retest(loaded, name, rubric, held_out, retest, max_cost, max_tokens) if retest else None
    measurement = measure_group(loaded, name, held_out, rubric, again, threads=threads, served=served)
    _show(measurement)
    if json:
        emit(_summary(name, measurement))


def _chosen(root: Path, group: str | None) -> "tuple[Project, str]":
    from mira_stream.config import load_project
    from mira_stream.errors import UsageError

    project = load_project(root)
    known = ", ".join(sorted(project.settings.groups)) or "none"
    if group is None:
        raise UsageError("group_missing", "--group is not given", f"use one of {known}")
    if group not in project.settings.groups:
        raise UsageError("group_unknown", f"the project has no group {group!r}", f"use one of {known}")
    return project, group


def _retest(
    project: "Project",
    group: str,
    rubric: "Rubric",
    held_out: "HeldOut",
    views: int,
    cost_max: float | None,
    tokens_max: int | None,
) -> "Retest":
    from mira_stream.cli.interrupts import run
    from mira_stream.cli.retesting import RetestOrder, retest_teacher

    teacher = held_out.teacher or project.settings.teacher.model
    mode = held_out.mode or project.settings.groups[group].lesson_mode
    order = RetestOrder(views, teacher, mode, held_out.temperature, cost_max, tokens_max)
    return run(retest_teacher(project, group, rubric, held_out.views(), order))


def _show(measurement: "Measurement") -> None:
    """One line a source, then what a person should know."""
    from mira_stream.messages import SLOTS
    from mira_stream.reliability.warnings import ceiling_warnings

    def say(line: str) -> None:
        talk.print(line, markup=False, soft_wrap=True)

    table = measurement.table
    sources = table.modes[measurement.mode].sources
    width = max(map(len, sources)) + 1
    say(f"{'':{width}} {'n':>5}  reliable  {' '.join(f'{slot:>3}' for slot in SLOTS)}   rho  overlap  gain")
    for name, source in sources.items():
        cells = " ".join(f"{_letter(source.dimensions[slot]):>3}" for slot in SLOTS)
        found = source.aggregate
        values = f"{_said(found.rho):>5}  {_said(found.overlap):>7}  {_said(found.gain):>4}"
        say(f"{name:{width}} {source.n:5}  {len(source.reliable):2} of 15  {cells} {values}")
    say("R reliable, u unreliable, - no variance, ? undecided; r, (u): undecided alone, judged with the group")
    if table.retest is not None:
        rhos = [cell.rho for cell in table.retest.dimensions.values()]
        cells = " ".join(f"{_said(rho):>4}" for rho in rhos)
        say(f"{table.retest.teacher} against itself, {table.retest.n} views, rho: {cells}")
    for warning in ceiling_warnings(table.retest, table.limits):
        say(f"warning: {warning}")
    for name, source in sources.items():
        for warning in source.warnings:
            say(f"warning: {name}: {warning}")
    for mode in measurement.compared:
        for line in acceptance_lines(table.modes[mode]):
            say(line if mode == measurement.mode else f"mode {mode}, {line}")
    if measurement.dropped:
        say(f"dropped, to be measured anew: mode {', '.join(measurement.dropped)}")
    say(f"report: {measurement.report}")


def acceptance_lines(part: "ModeReliability") -> list[str]:
    """How a mode compares with the slowest one, one line a source; nothing of a mode that has none."""
    return [
        f"{name}: {'accepted' if found.accepted else 'not accepted'} beside {found.against}, gain"
        f" {_signed(found.difference)} (at least {_signed(found.difference_lo)}) on {found.n} documents"
        f"{f', {found.unread} of them not read whole' if found.unread else ''}"
        for name, source in part.sources.items()
        if (found := source.acceptance) is not None
    ]


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.3f}"


def _summary(group: str, measurement: "Measurement") -> dict[str, Any]:
    from mira_stream.reliability.table import WHOLE_GROUP

    sources, retest = measurement.table.modes[measurement.mode].sources, measurement.table.retest
    return {
        "group": group,
        "mode": measurement.mode,
        "documents": sources[WHOLE_GROUP].n,
        "reliable": {name: list(source.reliable) for name, source in sources.items()},
        "gain": {name: source.aggregate.gain for name, source in sources.items()},
        "shared_error": [name for name, source in sources.items() if source.aggregate.shared_error],
        "warnings": {name: source.warnings for name, source in sources.items() if source.warnings},
        "accepted": {
            name: source.acceptance.accepted for name, source in sources.items() if source.acceptance is not None
        },
        "dropped_modes": list(measurement.dropped),
        "retested": 0 if retest is None else retest.n,
        "retest_note": "" if retest is None else retest.note,
        "report": str(measurement.report),
    }


def _letter(cell: "Cell") -> str:
    letter = LETTERS[cell.verdict]
    if not cell.shrunk:
        return letter
    return {"R": "r", "u": "(u)"}.get(letter, letter)


def _said(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
