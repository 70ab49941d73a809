"""Documents that are labelled, read from a project's sources, and the tokenizer that cuts them as the student will."""

from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from mira_stream.cli.output import talk
from mira_stream.cli.sampled import read_aloud, source_documents
from mira_stream.config import Project
from mira_stream.demo.featurejudge.judge import MODEL
from mira_stream.demo.material import MADE, labelled
from mira_stream.distill.choosing import Candidate, Draw
from mira_stream.distill.labels import Chosen, view_key
from mira_stream.distill.recipe import load_recipe
from mira_stream.distill.teach import question_key
from mira_stream.distill.tokenizer import load_tokenizer, save_tokenizer, tokenize_with, train_tokenizer
from mira_stream.errors import DocumentError
from mira_stream.messages import Document
from mira_stream.prompt import Prompt
from mira_stream.render import Tokenize, render
from mira_stream.scoring.structure import check_structure
from mira_stream.scoring.tokenizer import StudentTokenizer

CHARACTERS_A_TOKEN: Final = 8
"""So much of a document teaches the tokenizer, for each token that a student sees of it."""

Reject = Callable[[str, str, DocumentError], None]
"""Hears of a document that cannot be rendered: id, source, why."""


def candidates(
    project: Project, group: str, documents: int, heldout: int, journal: Container[str], reject: Reject
) -> Iterator[Candidate]:
    """Of every source of the group so many documents to train on and to measure on, rendered: drawn by chance from all
    it has, but first those that the journal has answers about.

    What the scorer would refuse is rejected here: nobody pays for its label.
    """
    family = project.settings.groups[group].family
    for name in project.settings.sources_of(group):
        draw = Draw(documents, heldout, partial(_is_asked, journal, group, name))
        for document in read_aloud(name, _source_documents(project, name, documents, heldout)):
            draw.add(document)
        if others := draw.not_by_chance:
            talk.print(
                f"{name}: {others:,} documents were asked about before and are kept for that, not drawn by chance;"
                " label --anew draws all anew, and asks everything again",
                markup=False,
                soft_wrap=True,
            )
        if draw.set_aside:
            talk.print(
                f"{name}: {draw.set_aside:,} documents are set aside, neither trained nor measured on",
                markup=False,
                soft_wrap=True,
            )
        for document, repeats in draw.drawn():
            try:
                text = render(document, family)
                check_structure(document, family)
                yield Candidate(document.id, name, text, repeats)
            except DocumentError as error:
                reject(document.id, name, error)


def _is_asked(journal: Container[str], group: str, source: str, document_id: str) -> bool:
    return question_key(group, view_key(source, document_id)) in journal


def student_tokenizer(project: Project, group: str, documents: list[Chosen], prompt: Prompt, new: bool) -> Tokenize:
    """The student's tokenizer. If it has none yet: that of the base model it starts from, else one made of the
    documents it will be trained on."""
    there = _base_tokenizer(project) if new else there_tokenizer(project, group)
    if there is not None:
        return there
    folder = project.student_path(group)
    characters = CHARACTERS_A_TOKEN * project.settings.groups[group].document_tokens_max
    texts = [prompt.system, *(one.text[:characters] for one in documents if one.split == "distill")]
    talk.print(f"{folder}: a tokenizer from {len(texts)} documents", markup=False, soft_wrap=True)
    save_tokenizer(train_tokenizer(texts, load_recipe(project.root).scratch.vocabulary), folder)
    return StudentTokenizer(folder).tokenize


def there_tokenizer(project: Project, group: str) -> Tokenize | None:
    """The student's own, else that of its base model; None: it is yet to be made of its documents."""
    folder = project.student_path(group)
    if (folder / "tokenizer.json").is_file():
        return StudentTokenizer(folder).tokenize
    return _base_tokenizer(project)


def _base_tokenizer(project: Project) -> Tokenize | None:
    model = load_recipe(project.root).base.model
    if not model:
        return None
    local = project.path(model)
    return tokenize_with(load_tokenizer(local if local.is_dir() else Path(model)))


def _source_documents(project: Project, name: str, documents: int, heldout: int) -> Iterator[Document]:
    """A source's files; of a source of the demo that has none yet as many as are labelled are made on the spot."""
    path = project.path(project.settings.sources[name].path)
    if name in MADE and project.settings.teacher.model == MODEL and not path.exists():
        return labelled(name, documents, heldout)
    return source_documents(project, name)
