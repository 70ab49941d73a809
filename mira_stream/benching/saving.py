"""Saved runs: one JSON file each, named by when and what."""

import re
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from mira_stream.benching.result import SCHEMA, Kind, Run, Turn
from mira_stream.errors import ConfigError, UsageError

FOLDER: Final = "bench"


def stamp(now_ms: int) -> str:
    """20260131T235959Z."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def file_name(taken_at: str, kind: Kind) -> str:
    return f"{taken_at}-{kind}.json"


def save(run: Run, folder: Path) -> Path:
    """Raises UsageError(out_unwritable)."""
    return save_as(run, folder / file_name(run.taken_at, run.kind))


def save_as(result: Struct, path: Path) -> Path:
    """Any result at `path`, or beside it where another run has that name: where it is. Raises
    UsageError(out_unwritable)."""
    content = msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for tried in chain([path], (path.with_stem(f"{path.stem}-{number}") for number in count(2))):
            with suppress(FileExistsError), tried.open("xb") as file:
                file.write(content)
                return tried
    except OSError as error:
        raise _unwritable(path, error) from None
    raise AssertionError("numbers do not end")


def check_out(folder: Path) -> None:
    """Before what takes long: what comes of it can be saved there. Raises UsageError(out_unwritable)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError("out_unwritable", f"{path}: {error.strerror}", "name another folder with --out")


class _Named(Struct):
    schema: str


def load_run(path: Path) -> Run:
    """Raises ConfigError(bench_unreadable), also for figures that no run has."""
    try:
        content = path.read_bytes()
        schema = msgspec.json.decode(content, type=_Named).schema
        if schema != SCHEMA:
            fix = "name a run of bench stream, engine or kafka (what modes and tune save has its comparison in it)"
            raise ConfigError("bench_unreadable", f"{path}: schema {schema!r}, not {SCHEMA!r}", fix)
        run = msgspec.json.decode(content, type=Run)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise ConfigError("bench_unreadable", f"{path}: {what}", "name a file that `mira-stream bench` saved") from None
    if not _has_groups(run.settings):
        raise ConfigError("bench_unreadable", f"{path}: its settings name no group that was measured", "measure again")
    if not all(_adds_up(turn) for turn in run.turns):
        raise ConfigError("bench_unreadable", f"{path}: its windows do not add up to its turns", "measure again")
    if not all(_fits(turn) for turn in run.turns):
        raise ConfigError("bench_unreadable", f"{path}: its prompts are shorter than their frame", "measure again")
    if not re.fullmatch(r"\d{8}T\d{6}Z", run.taken_at):
        raise ConfigError("bench_unreadable", f"{path}: taken_at {run.taken_at!r} is no time", "measure again")
    return run


def _has_groups(settings: dict[str, Any]) -> bool:
    groups = settings.get("groups")
    return isinstance(groups, dict) and groups != {} and all(isinstance(one, dict) and one for one in groups.values())


def _fits(turn: Turn) -> bool:
    """No prompt is shorter than what all begin and end with."""
    return turn.frame is None or (turn.prompts or 0) * (turn.frame.head + turn.frame.tail) <= turn.prompt_tokens


def _adds_up(turn: Turn) -> bool:
    """Runs of before say the dead letters of turns only."""
    documents, dead = sum(part.documents for part in turn.windows), sum(part.dead_letters for part in turn.windows)
    return documents == turn.documents and dead <= turn.dead_letters <= turn.documents
