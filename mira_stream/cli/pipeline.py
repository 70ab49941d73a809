"""`mira-stream pipeline`: all stages of the method in order, resumable, in one view."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mira_stream.cli.options import JsonOption, ProjectOption
from mira_stream.errors import UsageError

UNTIL = typer.Option("--until", help="The last stage to run: corpus, group, discover, label, distill or reliability.")
GROUPS = typer.Option("--group", "-g", help="Only this source group (may be given again).")
PARALLEL = typer.Option("--parallel", min=0, help="Groups side by side (0: one a CPU core, three at most).")
THREADS = typer.Option("--threads", min=1, help="CPU threads of each training.")
COST = typer.Option(
    "--max-cost", min=0.0, help="Stop before the teacher costs more than this in all, earlier runs too."
)
TOKENS = typer.Option(
    "--max-tokens", min=0, help="Stop before the teacher takes more tokens than this in all, earlier runs too."
)
ANEW = typer.Option("--anew", help="Do every step again, also where its outputs are there.")
REDISCOVER = typer.Option("--rediscover", help="Discover rubrics anew, of what the sources hold now.")
YES = typer.Option("--yes", help="Agree that labels are asked for again if rubric or prompt is another.")
PLAN = typer.Option(
    "--plan",
    help="Only show all steps, how they stand and why, what they will ask of the teacher, what would be void. Sources"
    " that are asked about are read whole for that.",
)
PARALLEL_MOST = 3


def pipeline(
    project: ProjectOption = Path(),
    until: Annotated[str, UNTIL] = "reliability",
    group: Annotated[list[str] | None, GROUPS] = None,
    parallel: Annotated[int, PARALLEL] = 0,
    threads: Annotated[int, THREADS] = 1,
    max_cost: Annotated[float | None, COST] = None,
    max_tokens: Annotated[int | None, TOKENS] = None,
    anew: Annotated[bool, ANEW] = False,
    rediscover: Annotated[bool, REDISCOVER] = False,
    yes: Annotated[bool, YES] = False,
    plan: Annotated[bool, PLAN] = False,
    json: JsonOption = False,
) -> None:
    """Make a project out of its sources: groups, rubrics, labels, students, reliability tables.

    Steps that are up to date are passed over; after any stop the same command goes on. A rubric that is there stays,
    whoever made it: documents and sources that are new are labelled with it, and only they are asked about. What other
    hands made (an imported rubric, a student from elsewhere) is given: taken as it is until it is removed. When rubric
    or prompt has changed, labels that were paid for are asked for again only with --yes or under a limit.
    """
    from mira_stream.cli.interrupts import run
    from mira_stream.cli.output import emit, talk
    from mira_stream.cli.teachers import stand_in
    from mira_stream.config import load_project
    from mira_stream.pipeline.progress import Progress
    from mira_stream.pipeline.run import Pipeline, Wish
    from mira_stream.pipeline.steps import STAGES, Pace

    last = next((stage for stage in STAGES if stage == until), None)
    if last is None:
        raise UsageError("stage_unknown", f"no stage {until!r}", f"use one of {', '.join(STAGES)}")
    if max_cost is not None or max_tokens is not None:
        parallel = 1  # what is left for a step is known when the one before has ended
    width = parallel or min(PARALLEL_MOST, len(os.sched_getaffinity(0)))
    wish = Wish(last, group or (), width, Pace(threads), max_cost, max_tokens, anew, rediscover, yes)
    progress = Progress(talk)
    chosen = Pipeline(project, wish, progress)
    steps, void = chosen.plan(), chosen.void()
    for name, state, why in steps:
        if plan or state != "done":
            said = why.removeprefix(f"{state}, ")
            talk.print(f"{name:28} {state:8} {said}".rstrip(), markup=False, soft_wrap=True)
    for line in stand_in(load_project(project)):
        talk.print(line, markup=False, soft_wrap=True)
    for line in void:
        talk.print(f"warning: {line}: all would be asked for again", markup=False, soft_wrap=True)
    if plan:
        from mira_stream.cli.foreseen import foresee, foreseen_lines

        asking = foresee(load_project(project), steps)
        for line in foreseen_lines(load_project(project), asking):
            talk.print(line, markup=False, soft_wrap=True)
        refused = chosen.hindered()
        for error in refused:
            talk.print(f"warning: refused: {error}", markup=False, soft_wrap=True)
        if json:
            emit(
                {
                    "plan": [step._asdict() for step in steps],
                    "asking": [one.entry() for one in asking],
                    "void": void,
                    "refused": [{"code": error.code, "cause": error.cause, "fix": error.fix} for error in refused],
                }
            )
        return
    with progress:
        done = run(chosen.run())
    if json:
        emit({"project": str(project), "steps": [step._asdict() for step in done]})
