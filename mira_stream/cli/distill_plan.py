"""`mira-stream distill --plan`: what a training would take, as a table or as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from mira_stream.cli.output import emit, talk
from mira_stream.config import Project

if TYPE_CHECKING:
    from mira_stream.distill.dataset import Lesson
    from mira_stream.distill.labels import Label
    from mira_stream.distill.plan import Memory, Shape, Work
    from mira_stream.distill.recipe import Recipe

CHARACTERS_A_TOKEN: Final = 4
"""Where no tokenizer is at hand."""


def show_plan(
    project: Project, group: str, recipe: "Recipe", labels: Path, gpus: int, gpu_memory: float, json: bool
) -> None:
    """Print the plan. Labels may not be there yet: then it is a plan of memory alone."""
    if recipe.base.model:
        found = _base_plan(project, group, recipe, labels, gpus, gpu_memory)
    else:
        found = _scratch_plan(project, group, recipe, labels)
    if json:
        emit(found)


def show_head_plan(project: Project, group: str, recipe: "Recipe", labels: Path, json: bool) -> None:
    """Print what training the group's head takes. Raises ConfigError where that training would, before it begins."""
    from mira_stream.cli.distill_head import trained_student
    from mira_stream.distill.batches import schedule
    from mira_stream.distill.head import new_head, tuned_recipe
    from mira_stream.distill.regression import regression_set
    from mira_stream.distill.run import student_tokenizer

    student = trained_student(project, group)
    lesson, read = _lesson(project, group, labels)
    made = regression_set(read, lesson._replace(mode="head"), student_tokenizer(student))
    tuned, parameters = tuned_recipe(recipe), new_head(student).num_parameters()
    passes, steps = tuned.training.passes, len(schedule(made.examples, tuned))
    tokens = sum(example.tokens for example in made.examples) * passes
    talk.print(
        f"{group}, a head on {student.name}: {_parameters(parameters)}; {made.labels} labels on {len(made.examples)}"
        f" windows x {passes}: {tokens:,} tokens, {steps} steps by one process",
        markup=False,
        soft_wrap=True,
    )
    if json:
        emit({
            "group": group, "start": "head", "parameters": parameters, "labels": made.labels,
            "windows": len(made.examples), "tokens": tokens, "steps": steps, "left_out": made.too_long,
        })  # fmt: skip


def _parameters(count: int) -> str:
    return f"{count:,} parameters, {16 * count / 2**20:.0f} MiB of weights, gradients and optimizer state"


def _base_plan(
    project: Project, group: str, recipe: "Recipe", labels: Path, gpus: int, gpu_memory: float
) -> dict[str, Any]:
    import msgspec

    from mira_stream.distill.base import accumulation
    from mira_stream.distill.plan import memory, shape_of, work
    from mira_stream.distill.recipe import base_path

    model = base_path(project.root, recipe)
    shape = shape_of(model)
    lengths, estimated = _lengths(project, group, model, labels)
    done = work(lengths, recipe, estimated=estimated) if lengths else None
    tokens = done.longest_tokens if done else project.settings.groups[group].context_tokens_max
    memories = [memory(shape, recipe.base, tokens, devices, gpu_memory) for devices in sorted({1, gpus})]
    talk.print(_table(f"{group}, from {model}", shape, memories, gpu_memory))
    _say_work(done, tokens, recipe)
    gathered = f"gathered over {accumulation(recipe, gpus)} on {gpus} GPUs"
    talk.print(f"{recipe.base.batch_replies} replies a step, {gathered}", markup=False, soft_wrap=True)
    return {
        "group": group, "start": "base", "model": model, "shape": msgspec.to_builtins(shape),
        "gpu_memory_gib": gpu_memory, "memory": [msgspec.to_builtins(one) for one in memories],
        "work": None if done is None else msgspec.to_builtins(done), "activations_for_tokens": tokens,
    }  # fmt: skip


def _scratch_plan(project: Project, group: str, recipe: "Recipe", labels: Path) -> dict[str, Any]:
    from mira_stream.distill.batches import schedule
    from mira_stream.distill.dataset import training_set
    from mira_stream.distill.run import student_tokenizer
    from mira_stream.distill.student import new_student
    from mira_stream.distill.tokenizer import vocabulary

    lesson, read = _lesson(project, group, labels)
    tokenizer = student_tokenizer(project.student_path(group))
    made = training_set(read, lesson, tokenizer)
    parameters = new_student(recipe.scratch, vocabulary(tokenizer), recipe.training.seed).num_parameters()
    steps = len(schedule(made.examples, recipe))
    tokens = sum(example.tokens for example in made.examples) * recipe.training.passes
    talk.print(
        f"{group}, from scratch: {_parameters(parameters)}; {made.replies} replies, {tokens:,} tokens, {steps} steps",
        markup=False,
        soft_wrap=True,
    )
    return {
        "group": group, "start": "scratch", "parameters": parameters, "replies": made.replies,
        "tokens": tokens, "steps": steps, "left_out": made.too_long,
    }  # fmt: skip


def _lesson(project: Project, group: str, labels: Path) -> "tuple[Lesson, list[Label]]":
    from mira_stream.cli.distill import lesson_of, read_labels
    from mira_stream.rubric.anchors import load_rubric

    rubric = load_rubric(project.rubric_path(group))
    lesson = lesson_of(project, group, rubric)
    return lesson, read_labels(project, group, labels, rubric.version, lesson.prompt)[0]


def _lengths(project: Project, group: str, model: str, labels: Path) -> tuple[list[tuple[int, int]], bool]:
    """Tokens of prompt and reply of every training label, and whether they are estimates."""
    from mira_stream.distill.base import base_tokenizer
    from mira_stream.distill.dataset import reply_text
    from mira_stream.errors import ConfigError

    if not labels.is_file():
        talk.print(f"{labels} does not exist: no tokens and steps", markup=False, soft_wrap=True)
        return [], False
    lesson, read = _lesson(project, group, labels)
    try:
        tokenizer = base_tokenizer(model)
    except ConfigError as error:
        talk.print(
            f"{error.cause}: tokens are estimated at {CHARACTERS_A_TOKEN} characters", markup=False, soft_wrap=True
        )
        tokenizer = None

    def tokens(text: str) -> int:
        if tokenizer is None:
            return -(-len(text) // CHARACTERS_A_TOKEN)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    fixed = tokens(lesson.prompt.system)
    training = [label for label in read if label.split == "distill"]
    found = [(fixed + tokens(lesson.prompt.user(one.view)), tokens(reply_text(one, lesson))) for one in training]
    return found, tokenizer is None


def _table(title: str, shape: "Shape", memories: "list[Memory]", gpu_memory: float) -> Table:
    title += f": {shape.parameters / 1e9:.2f} G parameters, {shape.active / 1e9:.2f} G active"
    table = Table(title=title, caption=f"GiB a GPU of {gpu_memory:g} GiB; an estimate")
    table.add_column("")
    for one in memories:
        table.add_column(f"{one.devices} GPU{'s, FSDP' if one.devices > 1 else ''}", justify="right")
    for name in ("weights", "gradients", "optimizer", "gathered", "activations", "logits", "total"):
        table.add_row(name, *(f"{getattr(one, name):,.1f}" for one in memories))
    table.add_row("fits", *("yes" if one.fits else "no" for one in memories))
    return table


def _say_work(done: "Work | None", tokens: int, recipe: "Recipe") -> None:
    if done is None:
        talk.print(f"activations are those of {tokens} tokens, the group's context")
        return
    talk.print(
        f"{done.replies} replies x {done.passes}: {done.tokens:,} tokens, {done.reply_tokens:,} of them replies"
        f" (only these carry loss), the longest {done.longest_tokens:,}; {done.steps} steps"
        + (" (tokens estimated)" if done.tokens_estimated else ""),
        markup=False,
        soft_wrap=True,
    )
