"""What `mira-stream label` does: documents of a group's sources, their views, and a teacher to judge them."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from mira_stream.chance import is_heldout
from mira_stream.cli.output import talk
from mira_stream.config import Family, Project, SourceSection
from mira_stream.demo import corpora
from mira_stream.demo.featurejudge.judge import MODEL
from mira_stream.demo.featurejudge.server import ServedGroup, serving
from mira_stream.distill.labels import SCHEMA, Augmentation, Label, Wanted, columns, is_measured, views
from mira_stream.distill.recipe import RECIPE
from mira_stream.distill.teach import Ask, teach
from mira_stream.distill.tokenizer import load_tokenizer, save_tokenizer, tokenize_with, train_tokenizer
from mira_stream.errors import ConfigError, DependencyError, DocumentError, EngineError
from mira_stream.ingest.files import find_corpus
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.reading import read_file
from mira_stream.messages import Document, decoder
from mira_stream.openai_engine.engine import OpenAIEngine, api_key
from mira_stream.parquet import READERS, write_table
from mira_stream.prompt import Prompt, load_prompt
from mira_stream.render import Tokenize, render
from mira_stream.rubric.anchors import Rubric, load_rubric
from mira_stream.scoring.engine import Request

REPORT_VIEWS: Final = 5000
RETRY_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Before a teacher that did not answer is asked again."""
CHARACTERS_A_TOKEN: Final = 8
"""So much of a document teaches the tokenizer, for each token that a student sees of it."""


async def label_group(
    project: Project, group: str, path: Path, documents: int, heldout: int, more: Augmentation, new_tokenizer: bool
) -> dict[str, int]:
    """Judge documents of the group and write their labels; how many of what were written."""
    rubric = load_rubric(project.rubric_path(group))
    prompt = load_prompt(project.prompts_path(group), rubric)
    chosen = list(_documents(project, group, documents, heldout))
    views = _views(project, group, chosen, _tokenize(project, group, chosen, prompt, new_tokenizer), more)
    found: list[Label] = []
    settings = project.settings
    async with AsyncExitStack() as stack:
        ask = await _teacher(stack, project, group, rubric, prompt)
        try:
            async for row in teach(views, prompt, rubric, settings.groups[group], ask, settings.teacher.concurrency):
                found.append(row)
                if len(found) % REPORT_VIEWS == 0:
                    talk.print(f"{len(found)} views judged")
        except DocumentError as error:
            raise DependencyError(
                "teacher_unreadable", f"{settings.teacher.model}: {error}", "use a teacher that keeps to the layout"
            ) from None
    write_table(path, SCHEMA, columns(found))
    training = sum(row.split == "distill" for row in found)
    return {"documents": len({row.id for row in found}), "training": training, "heldout": len(found) - training}


def _documents(project: Project, group: str, documents: int, heldout: int) -> Iterator[Document]:
    """The first readable documents of every source of the group: so many to train on, so many to measure on."""
    for name, section in project.settings.sources.items():
        if section.group != group:
            continue
        left = {True: heldout, False: documents}
        for document in _source_documents(project, name, section):
            held = is_heldout(document.id)
            if left[held] and (not held or is_measured(document.id)):
                left[held] -= 1
                yield document
            if not any(left.values()):
                break


def _source_documents(project: Project, name: str, section: SourceSection) -> Iterator[Document]:
    """A source's files; a source of the demo that has none yet is made on the spot."""
    made_here = name in {source.name for source in corpora.SOURCES}
    if made_here and project.settings.teacher.model == MODEL and not project.path(section.path).exists():
        yield from corpora.documents(name, sys.maxsize)
        return
    if not section.path:
        raise ConfigError("source_pathless", f"[sources.{name}] has no path", "add one: labels are of documents")
    read = decoder(Document)
    settings = project.settings
    mapping = RowMapping(name, section, settings.groups[section.group].family, settings.ingest.inline_bytes_max)
    for file in find_corpus(project.path(section.path)).files:
        for reading in read_file(file, "", mapping, 0, READERS):
            if not reading.rejected:
                yield read.decode(reading.value)


def _tokenize(project: Project, group: str, documents: list[Document], prompt: Prompt, new: bool) -> Tokenize:
    """The student's tokenizer; if it has none yet, one is made of the documents it will be trained on."""
    folder = project.student_path(group)
    if new or not (folder / "tokenizer.json").is_file():
        settings = project.settings.groups[group]
        training = [document for document in documents if not is_heldout(document.id)]
        texts = [
            prompt.system,
            *_openings(training, settings.family, CHARACTERS_A_TOKEN * settings.document_tokens_max),
        ]
        talk.print(f"{folder}: a tokenizer from {len(texts)} documents")
        save_tokenizer(train_tokenizer(texts, RECIPE.vocabulary), folder)
    return tokenize_with(load_tokenizer(folder))


def _openings(documents: list[Document], family: Family, characters: int) -> Iterator[str]:
    for document in documents:
        try:
            yield render(document, family)[:characters]
        except DocumentError:
            continue


def _views(
    project: Project, group: str, documents: list[Document], tokenize: Tokenize, more: Augmentation
) -> Iterator[Wanted]:
    settings = project.settings
    for document in documents:
        try:
            yield from views(document, settings.groups[group], settings.tokens.train_cutoff_tokens, tokenize, more)
        except DocumentError as error:
            talk.print(f"{document.id}: {error.reason}: {error.error}; left out", markup=False, soft_wrap=True)


async def _teacher(stack: AsyncExitStack, project: Project, group: str, rubric: Rubric, prompt: Prompt) -> Ask:
    """The endpoint of [teacher]; without base_url the stand-in judge is served here and asked in the same way."""
    teacher = project.settings.teacher
    settings = project.settings.groups[group]
    url = teacher.base_url
    if not url and teacher.model != MODEL:
        raise ConfigError("teacher_missing", f"[teacher] {teacher.model} has no base_url", "set [teacher] base_url")
    if not url:
        url = await stack.enter_async_context(serving({group: ServedGroup(settings.family, prompt, rubric, settings.layout)}))
    engine = OpenAIEngine([url], teacher.model, api_key=api_key(teacher.api_key_env), vllm_fields=False)
    await engine.start()
    stack.push_async_callback(engine.stop)

    async def ask(messages: list[dict[str, str]]) -> str:
        request = Request("label", messages, settings.reply_tokens_max, teacher.temperature)
        for pause_s in (*RETRY_PAUSES_S, None):
            try:
                return (await engine.generate(request)).text
            except EngineError as error:
                if pause_s is None or not error.retriable:
                    raise DependencyError("teacher_silent", f"{url}: {error}", "see that the teacher answers") from None
                await asyncio.sleep(pause_s)
        raise AssertionError("the last pass returns or raises")

    return ask
