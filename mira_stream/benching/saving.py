"""Saved runs: one JSON file each, named by when and what."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from mira_stream.benching.result import SCHEMA, Kind, Run
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
    """Any result at `path`. Raises UsageError(out_unwritable)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    except OSError as error:
        raise UsageError("out_unwritable", f"{path}: {error.strerror}", "name another folder with --out") from None
    return path


def load_run(path: Path) -> Run:
    """Raises ConfigError(bench_unreadable)."""
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise ConfigError("bench_unreadable", f"{path}: {what}", "name a file that `mira-stream bench` saved") from None
    if run.schema != SCHEMA or not re.fullmatch(r"\d{8}T\d{6}Z", run.taken_at):
        raise ConfigError("bench_unreadable", f"{path}: schema {run.schema!r}, not {SCHEMA!r}", "measure again")
    return run
