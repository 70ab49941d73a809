"""`mira-stream label | distill | reliability`: the teacher's labels, a group's student, and how well they agree."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.options import JsonOption, ProjectOption
from mira_stream.cli.output import emit, talk
from mira_stream.config import Project, load_project
from mira_stream.errors import ConfigError, DocumentError, EngineError, UsageError
from mira_stream.messages import Document

if TYPE_CHECKING:
    from mira_stream.distill.labels import Augmentation, Label, Wanted
    from mira_stream.distill.teach import Ask
    from mira_stream.prompt import Prompt
    from mira_stream.render import Tokenize
    from mira_stream.rubric.anchors import Rubric

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
RETRY_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Before a teacher that did not answer is asked again."""


def label(
    group: GroupOption,
    project: ProjectOption = Path(),
    labels: LabelsOption = None,
    documents: DocumentsOption = 2000,
    heldout: HeldoutOption = 300,
    windows: WindowsOption = 1,
    cuts: CutsOption = 1,
    json: JsonOption = False,
) -> None:
    """Let the teacher judge documents of a group, as its student will see them."""
    from mira_stream.distill.labels import Augmentation

    loaded = _loaded(project, group)
    path = labels or loaded.labels_path(group)
    counts = asyncio.run(_label(loaded, group, path, documents, heldout, Augmentation(windows, cuts)))
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


async def _label(
    project: Project, group: str, path: Path, documents: int, heldout: int, more: "Augmentation"
) -> dict[str, int]:
    from mira_stream.distill.labels import SCHEMA, columns
    from mira_stream.distill.teach import teach
    from mira_stream.parquet import write_table
    from mira_stream.prompt import load_prompt
    from mira_stream.rubric.anchors import load_rubric

    rubric = load_rubric(project.rubric_path(group))
    prompt = load_prompt(project.prompts_path(group), rubric)
    chosen = list(_documents(project, group, documents, heldout))
    views = _views(project, group, chosen, _tokenize(project, group, chosen, prompt), more)
    found: list[Label] = []
    settings = project.settings
    async with AsyncExitStack() as stack:
        ask = await _teacher(stack, project, group, rubric, prompt)
        async for row in teach(views, prompt, rubric, settings.groups[group], ask, settings.teacher.concurrency):
            found.append(row)
            if len(found) % 5000 == 0:
                talk.print(f"{len(found)} views judged")
    write_table(path, SCHEMA, columns(found))
    training = sum(row.split == "distill" for row in found)
    return {"documents": len({row.id for row in found}), "training": training, "heldout": len(found) - training}


def _documents(project: Project, group: str, documents: int, heldout: int) -> Iterator[Document]:
    """The first readable documents of every source of the group: so many to train on, so many to measure on."""
    from mira_stream.chance import is_heldout
    from mira_stream.distill.labels import is_measured
    from mira_stream.ingest.files import find_corpus
    from mira_stream.ingest.mapping import RowMapping
    from mira_stream.ingest.reading import read_file
    from mira_stream.messages import decoder
    from mira_stream.parquet import READERS

    read = decoder(Document)
    settings = project.settings
    for name, section in settings.sources.items():
        if section.group != group:
            continue
        if not section.path:
            raise ConfigError("source_pathless", f"[sources.{name}] has no path", "add one: labels are of documents")
        mapping = RowMapping(name, section, settings.groups[group].family, settings.ingest.inline_bytes_max)
        left = {True: heldout, False: documents}
        for file in find_corpus(project.path(section.path)).files:
            for reading in read_file(file, "", mapping, 0, READERS):
                if reading.rejected or not any(left.values()):
                    continue
                document = read.decode(reading.value)
                held = is_heldout(document.id)
                if left[held] and (not held or is_measured(document.id)):
                    left[held] -= 1
                    yield document


def _tokenize(project: Project, group: str, documents: list[Document], prompt: "Prompt") -> "Tokenize":
    """The student's tokenizer; if it has none yet, one is made of the documents it will be trained on."""
    from mira_stream.chance import is_heldout
    from mira_stream.distill.recipe import RECIPE
    from mira_stream.distill.tokenizer import load_tokenizer, save_tokenizer, tokenize_with, train_tokenizer

    folder = project.student_path(group)
    if not (folder / "tokenizer.json").is_file():
        settings = project.settings.groups[group]
        training = [document for document in documents if not is_heldout(document.id)]
        texts = [prompt.system, *_openings(training, settings.family, 8 * settings.document_tokens_max)]
        talk.print(f"{folder}: a tokenizer from {len(texts)} documents")
        save_tokenizer(train_tokenizer(texts, RECIPE.vocabulary), folder)
    return tokenize_with(load_tokenizer(folder))


def _openings(documents: list[Document], family: Any, characters: int) -> Iterator[str]:
    from mira_stream.render import render

    for document in documents:
        try:
            yield render(document, family)[:characters]
        except DocumentError:
            continue


def _views(
    project: Project, group: str, documents: list[Document], tokenize: "Tokenize", more: "Augmentation"
) -> "Iterator[Wanted]":
    from mira_stream.distill.labels import views

    settings = project.settings
    for document in documents:
        try:
            yield from views(document, settings.groups[group], settings.tokens.train_cutoff_tokens, tokenize, more)
        except DocumentError as error:
            talk.print(f"{document.id}: {error.reason}: {error.error}; left out", markup=False, soft_wrap=True)


async def _teacher(stack: AsyncExitStack, project: Project, group: str, rubric: "Rubric", prompt: "Prompt") -> "Ask":
    """The endpoint of [teacher]; without base_url the stand-in judge is served here and asked in the same way."""
    from mira_stream.demo.featurejudge.server import ServedGroup, serving
    from mira_stream.openai_engine.engine import OpenAIEngine, api_key
    from mira_stream.scoring.engine import Request

    teacher = project.settings.teacher
    settings = project.settings.groups[group]
    url = teacher.base_url
    if not url and teacher.model != "featurejudge":
        raise ConfigError("teacher_missing", f"[teacher] {teacher.model} has no base_url", "set [teacher] base_url")
    if not url:
        url = await stack.enter_async_context(serving({group: ServedGroup(prompt, rubric, settings.layout)}))
    engine = OpenAIEngine([url], teacher.model, api_key=api_key(teacher.api_key_env), vllm_fields=False)
    await engine.start()
    stack.push_async_callback(engine.stop)

    async def ask(messages: list[dict[str, str]]) -> str:
        request = Request("label", messages, settings.reply_tokens_max, teacher.temperature)
        for pause_s in RETRY_PAUSES_S:
            try:
                return (await engine.generate(request)).text
            except EngineError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(pause_s)
        return (await engine.generate(request)).text

    return ask
