"""`mira-stream label | distill | reliability`: the teacher's labels, a group's student, and how well they agree."""

import asyncio
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
DocumentsOption = Annotated[int, typer.Option("--documents", min=1, help="Training documents of each source, at most.")]
HeldoutOption = Annotated[int, typer.Option("--heldout", min=0, help="Held-out documents of each source, at most.")]
WindowsOption = Annotated[
    int, typer.Option("--windows", min=1, help="Windows of a training document; the first is the student's own view.")
]
CutsOption = Annotated[int, typer.Option("--cuts", min=1, help="Views of a window: itself, and shorter ones.")]
NewTokenizerOption = Annotated[
    bool, typer.Option("--new-tokenizer", help="Make the student's tokenizer anew, even if it has one.")
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


def label(
    group: GroupOption,
    project: ProjectOption = Path(),
    labels: LabelsOption = None,
    documents: DocumentsOption = 2000,
    heldout: HeldoutOption = 300,
    windows: WindowsOption = 1,
    cuts: CutsOption = 1,
    new_tokenizer: NewTokenizerOption = False,
    json: JsonOption = False,
) -> None:
    """Let the teacher judge documents of a group, as its student will see them."""
    from mira_stream.cli.labelling import label_group
    from mira_stream.distill.labels import Augmentation

    loaded = _loaded(project, group)
    path = labels or loaded.labels_path(group)
    counts = asyncio.run(
        label_group(loaded, group, path, documents, heldout, Augmentation(windows, cuts), new_tokenizer)
    )
    talk.print(f"{path}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if json:
        emit({"group": group, "labels": str(path), **counts})


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


def reliability(
    group: GroupOption,
    project: ProjectOption = Path(),
    labels: LabelsOption = None,
    threads: ThreadsOption = 2,
    json: JsonOption = False,
) -> None:
    """Run the student over held-out labels; write reliability/<group>.json and the labels that were measured."""
    from mira_stream.distill.run import student_scores
    from mira_stream.messages import SLOTS
    from mira_stream.parquet import write_table
    from mira_stream.prompt import load_prompt
    from mira_stream.reliability.measure import MEASURED_SCHEMA, Measured, measure, measured_columns
    from mira_stream.reliability.table import WHOLE_GROUP, save_table
    from mira_stream.rubric.anchors import load_rubric
    from mira_stream.scoring.lineage import lineage

    loaded = _loaded(project, group)
    rubric = load_rubric(loaded.rubric_path(group))
    rows = [row for row in _read_labels(labels or loaded.labels_path(group)) if row.split == "heldout"]
    if not rows:
        raise ConfigError("labels_missing", "no held-out labels", "mira-stream label --heldout 300")
    given = student_scores(loaded.student_path(group), load_prompt(loaded.prompts_path(group), rubric), rows, threads)
    measured = [
        Measured(row.id, row.source, row.scores, scores, row.overall, row.recommendation)
        for row, scores in zip(rows, given, strict=True)
    ]
    write_table(loaded.labels_path(group), MEASURED_SCHEMA, measured_columns(measured))
    settings = loaded.settings
    table = measure(
        measured,
        group=group,
        rubric=rubric.version,
        lineage=lineage(loaded, group),
        labels=loaded.labels_path(group).read_bytes(),
        limits=settings.mask.limits,
        trim=settings.mask.trim,
        mode=settings.groups[group].mode,
    )
    save_table(loaded.reliability_path(group), table)
    sources = table.modes[settings.groups[group].mode].sources
    for name, source in sources.items():
        cells = " ".join("--" if (rho := source.dimensions[slot].rho) is None else f"{rho:.2f}" for slot in SLOTS)
        talk.print(f"{name:16} n {source.n:4}  {len(source.reliable):2} of 15 reliable  rho {cells}", markup=False)
    if json:
        whole = sources[WHOLE_GROUP]
        emit({"group": group, "documents": whole.n, "reliable": {n: list(s.reliable) for n, s in sources.items()}})


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
