"""`mira-stream distill | reliability`: a group's student, and how well it agrees with its teacher."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mira_stream.cli.options import JsonOption, ProjectOption
from mira_stream.cli.output import emit, talk
from mira_stream.config import Project, load_project
from mira_stream.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from mira_stream.distill.labels import Label

GroupOption = Annotated[str, typer.Option("--group", "-g", help="The source group.")]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="The file of labels (default: labels/<group>.parquet of the project).")
]
PassesOption = Annotated[int, typer.Option("--passes", min=1, help="How often the labels are gone through.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")]
CompiledOption = Annotated[
    bool, typer.Option("--compiled/--plain", help="Compile the training step (twice as fast; needs a C++ compiler).")
]
MeasureEveryOption = Annotated[
    int, typer.Option("--measure-every", min=0, help="Steps between measurements on held-out labels (0: at the end).")
]
SAMPLE = 128
"""Held-out labels that a training is watched by."""


def distill(
    group: GroupOption,
    project: ProjectOption = Path(),
    labels: LabelsOption = None,
    passes: PassesOption = 1,
    threads: ThreadsOption = 2,
    compiled: CompiledOption = True,
    measure_every: MeasureEveryOption = 200,
    json: JsonOption = False,
) -> None:
    """Train a group's student on the teacher's labels, from random weights."""
    from mira_stream.distill.recipe import RECIPE
    from mira_stream.distill.run import TrainingRun, run_training
    from mira_stream.prompt import load_prompt
    from mira_stream.rubric.anchors import load_rubric

    loaded = _loaded(project, group)
    rubric = load_rubric(loaded.rubric_path(group))
    run = TrainingRun(
        folder=loaded.student_path(group),
        group=group,
        teacher=loaded.settings.teacher.model,
        rubric=rubric.version,
        prompt=load_prompt(loaded.prompts_path(group), rubric),
        labels=_read_labels(labels or loaded.labels_path(group)),
        recipe=RECIPE,
        passes=passes,
        threads=threads,
        compiled=compiled,
        measure_every=measure_every,
        sample=SAMPLE,
    )
    summary = run_training(run, lambda line: talk.print(line, markup=False, soft_wrap=True))
    if json:
        emit(summary)


def _loaded(project: Path, group: str) -> Project:
    loaded = load_project(project)
    if group not in loaded.settings.groups:
        known = ", ".join(sorted(loaded.settings.groups))
        raise UsageError("group_unknown", f"the project has no group {group!r}", f"use one of {known}")
    return loaded


def _read_labels(path: Path) -> "list[Label]":
    import msgspec

    from mira_stream.distill.labels import SCHEMA, Label, rows
    from mira_stream.parquet import read_columns

    table = read_columns(path, list(SCHEMA))
    try:
        return rows(table, lambda row: msgspec.convert(row, Label))
    except msgspec.ValidationError as error:
        raise ConfigError("labels_invalid", f"{path}: {error}", "label anew: mira-stream label") from None
