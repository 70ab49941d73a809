"""What the demo streams: its own sources made on the spot, written as JSONL before they are streamed."""

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from mira_stream.chance import is_heldout
from mira_stream.config import Project
from mira_stream.demo import corpora
from mira_stream.distill.labels import is_measured
from mira_stream.messages import Document, encode

MADE = tuple(source.name for source in corpora.SOURCES)


def shares(project: Project, own: Collection[str], documents: int) -> dict[str, int]:
    """How many documents each of the demo's sources that the project names gives, `documents` in all.

    Sources in `own` come from the user, whatever they are called.
    """
    names = [name for name in MADE if name in project.settings.sources and name not in own]
    even, rest = divmod(documents, len(names)) if names else (0, 0)
    return {name: even + (i < rest) for i, name in enumerate(names)}


def write_source(path: Path, name: str, count: int) -> int:
    """Write at most `count` documents that no student was trained on or measured on; how many there were."""
    return _write(path, corpora.documents(name, count, _fit))


def write_labelled(path: Path, name: str, training: int, measured: int) -> int:
    """Write as many documents to train on and to measure on as are labelled; how many there were."""
    return _write(path, labelled(name, training, measured))


def labelled(name: str, training: int, measured: int) -> Iterator[Document]:
    """The first `training` documents of a source to train on and `measured` to measure on."""
    left = {False: training, True: measured}
    for document in corpora.documents(name, sys.maxsize, lambda id: not is_heldout(id) or is_measured(id)):
        held = is_heldout(document.id)
        if left[held]:
            left[held] -= 1
            yield document
        if not any(left.values()):
            return


def _write(path: Path, documents: Iterable[Document]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    written = 0
    with unfinished.open("wb") as file:
        for document in documents:
            file.write(encode(document) + b"\n")
            written += 1
    os.replace(unfinished, path)
    return written


def _fit(document_id: str) -> bool:
    return is_heldout(document_id) and not is_measured(document_id)
