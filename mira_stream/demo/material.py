"""What the demo streams: its own sources made on the spot, written as JSONL before they are streamed."""

import os
from collections.abc import Collection
from pathlib import Path

from mira_stream.chance import is_heldout
from mira_stream.config import Project
from mira_stream.demo import corpora
from mira_stream.distill.labels import is_measured
from mira_stream.messages import encode

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
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    written = 0
    with unfinished.open("wb") as file:
        for document in corpora.documents(name, count, _fit):
            file.write(encode(document) + b"\n")
            written += 1
    os.replace(unfinished, path)
    return written


def _fit(document_id: str) -> bool:
    return is_heldout(document_id) and not is_measured(document_id)
