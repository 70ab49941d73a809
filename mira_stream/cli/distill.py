"""`mira-stream distill`: a group's student, from random weights or from a base model, as distill.toml says."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mira_stream.cli.options import JsonOption, ProjectOption, given
from mira_stream.cli.output import emit, talk
from mira_stream.config import Project, load_project
from mira_stream.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from mira_stream.distill.dataset import Lesson
    from mira_stream.distill.labels import Label
    from mira_stream.distill.recipe import Recipe
    from mira_stream.distill.run import TrainingRun
    from mira_stream.prompt import Prompt
    from mira_stream.rubric.anchors import Rubric

GroupOption = Annotated[str, typer.Option("--group", "-g", help="The source group.")]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="The file of labels (default: where `label` writes them).")
]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")]
CompiledOption = Annotated[
    bool, typer.Option("--compiled/--plain", help="Compile the training step (twice as fast; needs a C++ compiler).")
]
AccelerateOption = Annotated[
    Path | None,
    typer.Option("--accelerate", help="Start on the GPUs of this accelerate configuration (a base model only)."),
]
HeadOption = Annotated[
    bool, typer.Option("--head", help="Train the student of mode head: a regression head on the group's student.")
]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print tokens, steps and memory; train nothing.")]
GpusOption = Annotated[int, typer.Option("--gpus", min=1, help="With --plan: GPUs to spread a base model over.")]
GpuMemoryOption = Annotated[float, typer.Option("--gpu-memory", min=1, help="With --plan: GiB of one GPU.")]
LAUNCHED: Final = "MIRA_LAUNCHED"
"""Set in processes that accelerate has started."""


def distill(
    context: typer.Context,
    group: GroupOption,
    project: ProjectOption = Path(),
    labels: LabelsOption = None,
    threads: ThreadsOption = 2,
    compiled: CompiledOption = True,
    accelerate: AccelerateOption = None,
    head: HeadOption = False,
    plan: PlanOption = False,
    gpus: GpusOption = 8,
    gpu_memory: GpuMemoryOption = 80.0,
    json: JsonOption = False,
) -> None:
    """Train a group's student on the teacher's labels. Stopped at any point, the same command goes on.

    With --head: fifteen scores and the overall as numbers, no reply; it begins with the trained student and is a folder
    of its own. --plan says what either takes.
    """
    from mira_stream.cli.labels_place import labels_with_views
    from mira_stream.distill.recipe import load_recipe

    loaded = _loaded(project, group)
    recipe = load_recipe(loaded.root)
    path = labels or labels_with_views(loaded, group)
    if head and accelerate:
        raise UsageError("head_alone", "--head is trained by one process", "leave --accelerate out")
    if plan and head:
        from mira_stream.cli.distill_plan import show_head_plan

        ignored = given(context, ("gpus", "gpu_memory"))
        if ignored:
            what = f"{', '.join(ignored)} would be ignored: a head is trained by one process, on CPUs"
            raise UsageError("head_alone", what, "leave it out")
        show_head_plan(loaded, group, recipe, path, json)
        return
    if plan:
        from mira_stream.cli.distill_plan import show_plan

        show_plan(loaded, group, recipe, path, gpus, gpu_memory, json)
        return
    if not head:
        launch(loaded, recipe, accelerate)
    first = os.environ.get("RANK", "0") == "0"

    def say(line: str) -> None:
        if first:
            talk.print(line, markup=False, soft_wrap=True)

    from mira_stream.distill.run import run_training

    run = _training_run(loaded, group, recipe, path, threads, compiled)
    if head:
        from mira_stream.cli.distill_head import head_run

        run = head_run(loaded, group, run, say)
    summary = run_training(run, say)
    if json and first:
        emit(summary)


def launch(project: Project, recipe: "Recipe", given: Path | None) -> None:
    """Become `accelerate launch` of this same command, if there is a configuration for it and it is not that yet.

    Raises UsageError without a base model, ConfigError if the file is missing.
    """
    named = given or (project.path(recipe.base.accelerate) if recipe.base.accelerate else None)
    if named is None or os.environ.get(LAUNCHED):
        return
    if not recipe.base.model:
        raise UsageError("base_missing", "--accelerate is for a base model", "name one in [base] model of distill.toml")
    if not named.is_file():
        raise ConfigError("accelerate_missing", f"{named} does not exist", "deploy/distill has examples")
    os.environ[LAUNCHED] = "1"
    sys.stdout.flush()
    os.execv(sys.executable, launched_command(named, sys.argv[1:]))


def launched_command(configuration: Path, arguments: list[str]) -> list[str]:
    """The same arguments under `accelerate launch`."""
    starter = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration)]
    return [*starter, "-m", "mira_stream", *arguments]


def _training_run(
    project: Project, group: str, recipe: "Recipe", path: Path, threads: int, compiled: bool
) -> "TrainingRun":
    from mira_stream.distill.run import TrainingRun
    from mira_stream.rubric.anchors import load_rubric

    rubric = load_rubric(project.rubric_path(group))
    lesson = lesson_of(project, group, rubric)
    labels, teacher = read_labels(project, group, path, rubric.version, lesson.prompt)
    return TrainingRun(
        root=project.root,
        folder=project.student_path(group),
        curve=project.root / "reports" / f"distill-{group}.png",
        group=group,
        teacher=teacher or project.settings.teacher.model,
        rubric=rubric.version,
        lesson=lesson,
        labels=labels,
        recipe=recipe,
        threads=threads,
        compiled=compiled,
    )


def lesson_of(project: Project, group: str, rubric: "Rubric") -> "Lesson":
    """Prompt, layout and mode of a group, as its student will be served."""
    from mira_stream.distill.dataset import Lesson
    from mira_stream.prompt import load_prompt

    section = project.settings.groups[group]
    prompt = load_prompt(project.prompts_path(group), rubric)
    return Lesson(prompt, rubric.names, section.layout, section.lesson_mode, section.context_tokens_max)


def read_labels(project: Project, group: str, path: Path, rubric: str, prompt: "Prompt") -> "tuple[list[Label], str]":
    """Labels and their teacher (empty if the file does not say).

    Columns that have a default may be missing. Raises ConfigError: labels_invalid, labels_without_views,
    rubric_mismatch, prompt_mismatch, or as read_columns does.
    """
    import msgspec

    from mira_stream.cli.labels_place import check_views, labelling_again
    from mira_stream.distill.labels import SCHEMA, Label, check_prompt, check_rubric, rows
    from mira_stream.parquet import column_names, read_columns, read_metadata

    metadata, command = read_metadata(path), labelling_again(project, group, path)
    check_rubric(path, metadata, rubric, command)
    check_prompt(path, metadata, prompt.files_sha256, command)
    check_views(project, group, path)
    there = set(column_names(path))
    needed = {field.name for field in msgspec.structs.fields(Label) if field.required}
    table = read_columns(path, [name for name in SCHEMA if name in there or name in needed])
    try:
        return rows(table, lambda row: msgspec.convert(row, Label)), metadata.get("teacher", "")
    except msgspec.ValidationError as error:
        raise ConfigError("labels_invalid", f"{path}: {error}", f"label anew: {command} --anew") from None


def _loaded(project: Path, group: str) -> Project:
    loaded = load_project(project)
    if group not in loaded.settings.groups:
        known = ", ".join(sorted(loaded.settings.groups))
        raise UsageError("group_unknown", f"the project has no group {group!r}", f"use one of {known}")
    return loaded
