"""Project directories for `mira-stream init`: from a user's own files, and the demo's own."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast, get_args

import tomlkit

from mira_stream.demo.corpora import SOURCES
from mira_stream.errors import UsageError
from mira_stream.ingest.files import find_corpus
from mira_stream.ingest.inferring import MAPPED, Inferred, first_rows, infer
from mira_stream.ingest.ports import Readers
from mira_stream.messages import SOURCE_PATTERN
from mira_stream.sections import Family

FILES_MAX: Final = 50
"""Of one source looked into."""
DEMO_RETENTION: Final = {
    "stdlib": 0.4,
    "distdocs": 0.6,
    "docstrings": 0.5,
    "doctests": 0.35,
    "agent_careful": 0.6,
    "agent_hasty": 0.3,
}
DEMO_DEFAULTS: Final = {"document_tokens_max": 448, "context_tokens_max": 1280, "reply_tokens_max": 160}
DEMO_DISCOVERY: Final = {"documents": 1200, "examples": 2}
OWN_DEFAULTS: Final = {"context_tokens_max": 2048}
"""Room for the default document of 512 tokens, its prompt with examples, and the reply."""
DEMO_LABELS: Final = {"documents": 2000, "heldout": 300, "cuts": 2}
_SUFFIXES: Final = re.compile(r"(\.(jsonl|ndjson|parquet|txt|text|md|markdown|rst|tex|html|gz|zst))+$", re.IGNORECASE)


class OwnSource(NamedTuple):
    """A source of the user's: where it is, and what its rows are. `files` found, `looked` of them looked into."""

    name: str
    path: str
    files: int
    looked: int
    inferred: Inferred


def own_sources(
    root: Path, paths: Sequence[str], families: Sequence[str], maps: Sequence[str], readers: Readers
) -> list[OwnSource]:
    """One source a path, `PATH` or `NAME=PATH`. Raises UsageError and ConfigError as find_corpus and infer do."""
    named = _named(paths)
    family_of, columns_of = _families(families, named), _columns(maps, named)
    found = []
    for name, path in named.items():
        files = find_corpus(path).files
        looked = files[:FILES_MAX]
        rows = [row for file in looked for row in first_rows(file, readers)]
        inferred = infer(name, rows, family_of.get(name), columns_of.get(name, {}))
        found.append(OwnSource(name, _written_path(root, path), len(files), len(looked), inferred))
    return found


def own_settings(sources: Sequence[OwnSource]) -> str:
    """mira.toml of a project that is yet to get its groups."""
    document = _document("A MIRA project: sources of yours, not grouped yet. ARCHITECTURE.md lists every key.")
    document.add("teacher", _teacher())
    document.add("grouping", {"defaults": OWN_DEFAULTS})
    tables = tomlkit.table(is_super_table=True)
    for source in sources:
        table = tomlkit.table()
        table.add("family", source.inferred.family)
        table.add("path", source.path)
        for key, column in source.inferred.columns.items():
            table.add(key, column)
        table.add(tomlkit.comment("retention = 0.5"))
        tables.add(source.name, table)
    document.add("sources", tables)
    return tomlkit.dumps(document)


def demo_settings() -> str:
    """mira.toml of the demo's own sources, before any stage has run."""
    document = _document(
        "The demo project: its documents are found or made on the machine. Its teacher is a stand-in that measures",
        "features and understands nothing: rubrics found with it show the plumbing, not the insight.",
    )
    document.add("teacher", {"model": "featurejudge"})
    document.add("grouping", {"defaults": DEMO_DEFAULTS})
    document.add("discovery", DEMO_DISCOVERY)
    document.add("labels", DEMO_LABELS)
    tables = tomlkit.table(is_super_table=True)
    for source in SOURCES:
        keys = {"family": source.group, "path": f"corpus/{source.name}.jsonl", "retention": DEMO_RETENTION[source.name]}
        tables.add(source.name, keys)
    document.add("sources", tables)
    return tomlkit.dumps(document)


def next_commands(directory: str) -> list[str]:
    """From sources to a stream, in order."""
    project = shlex.quote(directory)
    return [f"mira-stream pipeline --project {project}", f"mira-stream up --project {project}"]


def _document(*title: str) -> tomlkit.TOMLDocument:
    """A file that begins with its title and, as comments, with what to do from its own folder."""
    document = tomlkit.document()
    for line in (*title, "Next, from this folder:", "  mira-stream pipeline", "  mira-stream up"):
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    return document


def _teacher() -> Any:
    table = tomlkit.table()
    table.add(
        tomlkit.comment("Any OpenAI-compatible endpoint. The feature judge measures features and understands nothing:")
    )
    table.add(tomlkit.comment("it shows that everything runs, and its scores are no judgement of your documents."))
    table.add(tomlkit.comment('base_url = "http://127.0.0.1:8000/v1"'))
    table.add("model", "featurejudge")
    return table


def _named(paths: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for given in paths:
        name, equals, rest = given.partition("=")
        if not equals or Path(given).exists():
            name, rest = _name(Path(given)), given
        if not re.match(SOURCE_PATTERN, name):
            raise UsageError("source_invalid", f"{name!r} is no name of a source", f"write NAME={rest}")
        if name in found:
            raise UsageError("source_twice", f"two sources would be called {name!r}", f"write NAME={rest}")
        found[name] = Path(rest)
    return found


def _name(path: Path) -> str:
    stem = _SUFFIXES.sub("", path.resolve().name)
    return re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]+", "_", stem)).strip("_.-")[:64]


def _families(options: Sequence[str], named: Mapping[str, Path]) -> dict[str, Family]:
    found: dict[str, Family] = {}
    for option in options:
        name, equals, family = option.rpartition("=")
        if family not in get_args(Family) or (equals and name not in named):
            raise UsageError("family_invalid", f"--family {option}", "write --family text|qa|agent, or NAME=FAMILY")
        found |= dict.fromkeys([name] if equals else named, cast(Family, family))
    return found


def _columns(options: Sequence[str], named: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {name: {} for name in named}
    for option in options:
        left, equals, column = option.partition("=")
        name, colon, key = left.rpartition(":")
        if not (equals and column) or key not in MAPPED or (colon and name not in named):
            raise UsageError(
                "map_invalid", f"--map {option}", f"write [NAME:]KEY=COLUMN with KEY of {', '.join(MAPPED)}"
            )
        for one in [name] if colon else named:
            found[one][key] = column
    return found


def _written_path(root: Path, path: Path) -> str:
    """Relative if the file lies in the project directory, so that the directory may be moved; else absolute."""
    whole = path.resolve()
    return os.path.relpath(whole, root.resolve()) if whole.is_relative_to(root.resolve()) else str(whole)
