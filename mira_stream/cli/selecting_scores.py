"""Texts for `select`: content that is written beside what is kept, and scores of the baselines that read texts."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from mira_stream.chance import u
from mira_stream.cli.output import talk
from mira_stream.cli.sampled import source_documents
from mira_stream.cli.selecting import Asked
from mira_stream.config import Project, load_project
from mira_stream.errors import ConfigError, DocumentError, UsageError
from mira_stream.render import render
from mira_stream.selection.book import Book
from mira_stream.selection.dsir import SHORT_WEIGHT, WORDS_MIN, DsirModel, gumbel
from mira_stream.selection.inputs import find_inputs
from mira_stream.selection.perplexity import TOKENS_MAX, load_model, mean_nll
from mira_stream.selection.ports import Batch, Tables

PROJECT: Final = "project"
BATCH: Final = 1_000
PPL_BATCH: Final = 64
"""A model takes its time for each."""
SAID_EVERY_S: Final = 10.0
T = TypeVar("T")
_lines: Final = msgspec.json.Decoder(dict[str, object])


class Text(NamedTuple):
    """A document, as the baselines read it."""

    source: str
    id: str
    text: str


def content_reader(asked: Asked, tables: Tables) -> Callable[[], Iterator[Batch]]:
    """Reads the content that --content names. Raises ConfigError as the files do."""
    if asked.content == PROJECT:
        project = load_project(asked.project)
        return lambda: _project_batches(project, tables)
    folder = Path(str(asked.content))
    return lambda: (batch for file in find_inputs(folder) for batch in tables.open_source(file.path).batches())


def fill_scores(book: Book, asked: Asked, tables: Tables) -> None:
    """Enter the method's score of every document. Raises UsageError for a missing flag, ConfigError for files."""
    if asked.method == "dsir":
        _fill_dsir(book, asked, tables)
    elif asked.method == "ppl":
        _fill_perplexity(book, asked, tables)
    else:
        _fill_given(book, Path(asked.method.removeprefix("scores:")), asked.score_column or "score", tables)


def _fill_dsir(book: Book, asked: Asked, tables: Tables) -> None:
    if asked.target is None:
        raise UsageError("target_missing", "dsir needs texts to look like", "name them with --target FILE")
    if not asked.target.exists():
        raise ConfigError("target_unreadable", f"{asked.target} does not exist", "name a file of texts")
    try:
        model = DsirModel.fit((text.text for text in _texts(asked, tables)), _target(asked.target, tables))
    except ValueError as error:
        raise ConfigError("texts_empty", str(error), "name files with text in --content and --target") from None
    for part in _counted(_parts(_texts(asked, tables))):
        found = model.weights_and_words(text.text for text in part)
        weights = found.log_weights
        if not asked.top_k:
            weights = weights + gumbel(np.array([u("gumbel", text.id) for text in part]))
        weights = np.where(found.words >= WORDS_MIN, weights, SHORT_WEIGHT)
        book.put((text.source, text.id, float(weight)) for text, weight in zip(part, weights, strict=True))


def _fill_perplexity(book: Book, asked: Asked, tables: Tables) -> None:
    """The score is the negative mean negative log-likelihood: the less surprising, the better."""
    if asked.model is None:
        raise UsageError("model_missing", "ppl needs a language model", "name its folder with --model DIR")
    scorer, tokenize, context = load_model(asked.model)
    window = min(TOKENS_MAX, context)  # all logits of a window are held at once
    for part in _counted(_parts(_texts(asked, tables), PPL_BATCH)):
        surprises = mean_nll(scorer, [text.text for text in part], tokenize=tokenize, tokens_max=window)
        scored = [(text, value) for text, value in zip(part, surprises.tolist(), strict=True) if np.isfinite(value)]
        book.put((text.source, text.id, -value) for text, value in scored)


def _fill_given(book: Book, path: Path, column: str, tables: Tables) -> None:
    for file in find_inputs(path):
        for batch in tables.open_source(file.path).batches(["id", "source", column]):
            sources, ids, scores = batch.strings("source"), batch.strings("id"), batch.numbers(column)
            rows = zip(sources, ids, scores.tolist(), strict=True)
            entries = [(s or "", i or "", score) for s, i, score in rows if np.isfinite(score)]
            if book.put(entries) != len(entries):
                raise ConfigError(
                    "score_twice", f"{file.path}: a source and id has two scores", "give each document one score"
                )


def _texts(asked: Asked, tables: Tables) -> Iterator[Text]:
    """Every document with its text: of --content, else of the project's sources, in order."""
    if asked.content in (None, PROJECT):
        yield from _project_texts(load_project(asked.project))
        return
    for batch in content_reader(asked, tables)():
        columns = zip(batch.strings("source"), batch.strings("id"), batch.strings("text"), strict=True)
        yield from (Text(source or "", id_ or "", text) for source, id_, text in columns if text is not None)


def _project_texts(project: Project) -> Iterator[Text]:
    """As a judge would be shown them, uncut; documents that no judge could read have no text."""
    for name in _sources_with_files(project):
        for document in source_documents(project, name):
            try:
                yield Text(name, document.id, render(document, project.settings.family_of(name)))
            except DocumentError:
                continue


def _sources_with_files(project: Project) -> list[str]:
    """What only came over the wire is missed later, where a card asks for it."""
    return sorted(name for name, section in project.settings.sources.items() if section.path)


def _project_batches(project: Project, tables: Tables) -> Iterator[Batch]:
    for name in _sources_with_files(project):
        for part in _parts(source_documents(project, name)):
            yield tables.make_batch(
                {
                    "id": [document.id for document in part],
                    "source": [name] * len(part),
                    "text": [document.text for document in part],
                    "messages": [_json(document.messages) for document in part],
                    "parts": [_json(document.parts) for document in part],
                    "meta": [_json(document.meta) for document in part],
                }
            )


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _target(path: Path, tables: Tables) -> Iterator[str]:
    """The texts of a Parquet, CSV or JSON Lines file. Raises ConfigError(target_unreadable)."""
    if not path.name.endswith((".jsonl", ".ndjson")):
        for file in find_inputs(path):
            for batch in tables.open_source(file.path).batches(["text"]):
                yield from (text for text in batch.strings("text") if text is not None)
        return
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                text = _lines.decode(line).get("text")
                if not isinstance(text, str):
                    raise ConfigError("target_unreadable", f"{path}:{number} has no text", "every line needs a text")
                yield text
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError("target_unreadable", f"{path}: {error}", "name a file of texts") from None


def _parts(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    remaining = iter(items)
    while part := list(islice(remaining, size)):
        yield part


def _counted(parts: Iterator[list[Text]]) -> Iterator[list[Text]]:
    """The parts again; how many documents are scored is said while that takes long."""
    done, said = 0, monotonic()
    for part in parts:
        yield part
        done += len(part)
        if monotonic() - said >= SAID_EVERY_S:
            said = monotonic()
            talk.print(f"{done:,} documents scored", markup=False)
