"""Documents that are labelled, read from a project's sources, and the tokenizer that cuts them as the student will."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mira_stream.cli.output import talk
from mira_stream.config import Project, SourceSection
from mira_stream.demo import corpora
from mira_stream.demo.featurejudge.judge import MODEL
from mira_stream.distill.choosing import Candidate, Quota
from mira_stream.distill.labels import Chosen
from mira_stream.distill.recipe import load_recipe
from mira_stream.distill.tokenizer import load_tokenizer, save_tokenizer, tokenize_with, train_tokenizer
from mira_stream.errors import ConfigError, DocumentError
from mira_stream.ingest.files import find_corpus
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.reading import read_file
from mira_stream.messages import Document, decoder
from mira_stream.parquet import READERS
from mira_stream.prompt import Prompt
from mira_stream.render import Tokenize, render

CHARACTERS_A_TOKEN: Final = 8
"""So much of a document teaches the tokenizer, for each token that a student sees of it."""

Reject = Callable[[str, str, DocumentError], None]
"""Hears of a document that cannot be rendered: id, source, why."""


def candidates(project: Project, group: str, documents: int, heldout: int, reject: Reject) -> Iterator[Candidate]:
    """The first documents of every source of the group, rendered: so many to train on, so many to measure on."""
    family = project.settings.groups[group].family
    for name in project.settings.sources_of(group):
        quota = Quota(documents, heldout)
        for document in _source_documents(project, name, project.settings.sources[name]):
            if quota.takes(document.id):
                try:
                    yield Candidate(document.id, name, render(document, family))
                except DocumentError as error:
                    reject(document.id, name, error)
            if quota.full:
                break


def student_tokenizer(project: Project, group: str, documents: list[Chosen], prompt: Prompt, new: bool) -> Tokenize:
    """The student's tokenizer. If it has none yet: that of the base model it starts from, else one made of the
    documents it will be trained on."""
    folder = project.student_path(group)
    if new or not (folder / "tokenizer.json").is_file():
        recipe = load_recipe(project.root)
        if recipe.base.model:
            local = project.path(recipe.base.model)
            return tokenize_with(load_tokenizer(local if local.is_dir() else Path(recipe.base.model)))
        characters = CHARACTERS_A_TOKEN * project.settings.groups[group].document_tokens_max
        texts = [prompt.system, *(one.text[:characters] for one in documents if one.split == "distill")]
        talk.print(f"{folder}: a tokenizer from {len(texts)} documents", markup=False, soft_wrap=True)
        save_tokenizer(train_tokenizer(texts, recipe.scratch.vocabulary), folder)
    return tokenize_with(load_tokenizer(folder))


def _source_documents(project: Project, name: str, section: SourceSection) -> Iterator[Document]:
    """A source's files; a source of the demo that has none yet is made on the spot."""
    made_here = name in {source.name for source in corpora.SOURCES}
    if made_here and project.settings.teacher.model == MODEL and not project.path(section.path).exists():
        yield from corpora.documents(name, sys.maxsize)
        return
    if not section.path:
        raise ConfigError("source_pathless", f"[sources.{name}] has no path", "add one: labels are of documents")
    read = decoder(Document)
    mapping = RowMapping(name, section, project.settings.family_of(name), project.settings.ingest.inline_bytes_max)
    for file in find_corpus(project.path(section.path)).files:
        for reading in read_file(file, "", mapping, 0, READERS):
            if not reading.rejected:
                yield read.decode(reading.value)
