"""Other people's scorers: the documents they are given, and their (id, score) files read back."""

import csv
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from bench.selection.pool import Known
from mira_stream.errors import UsageError
from mira_stream.parquet import read_columns
from mira_stream.render import render
from mira_stream.sections import Family

SHOWN: Final = 3
"""Ids named in an error."""


def export_documents(path: Path, known: Iterable[Known], family_of: Callable[[str], Family]) -> int:
    """Write {id, source, text} of every document, one JSON object a line; ids tell nothing. How many there are."""
    documents = {one.document.id: one.document for one in known}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for name in sorted(documents):
            document = documents[name]
            text = render(document, family_of(document.source))
            file.write(orjson.dumps({"id": name, "source": document.source, "text": text}) + b"\n")
    return len(documents)


def read_scores(path: Path, wanted: Collection[str]) -> dict[str, float]:
    """Scores by id, higher is better, of a .jsonl, .csv or .parquet file with columns id and score.

    Raises UsageError for a file of another form, a score that is no number, an id that occurs twice, and documents
    that have no score.
    """
    found: dict[str, float] = {}
    try:
        for number, (name, score) in enumerate(_rows(path), start=1):
            value = float(score)
            if not math.isfinite(value):
                raise ValueError(f"row {number}: the score {score!r} is no number")
            if name in found:
                raise ValueError(f"row {number}: {name!r} occurs twice")
            found[name] = value
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            "arm_unreadable", f"{path}: {error}", "give a .jsonl, .csv or .parquet file with columns id and score"
        ) from None
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise UsageError(
            "arm_incomplete",
            f"{path} lacks {len(missing)} of {len(wanted)} documents, for example {', '.join(missing[:SHOWN])}",
            "score all of --export-documents, exported with the same --project, --seeds and --quick",
        )
    return found


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            yield from ((row["id"], row["score"]) for row in csv.DictReader(file))
    elif path.suffix == ".parquet":
        columns = read_columns(path, ("id", "score"))
        yield from zip(columns["id"], columns["score"], strict=True)
    else:
        rows = map(orjson.loads, path.read_bytes().splitlines())
        yield from ((row["id"], row["score"]) for row in rows)
