"""A search as it is saved: PROJECT/bench/<when>-tune.json."""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from mira_stream.errors import UsageError
from mira_stream.tuning.search import Duel
from mira_stream.tuning.space import Value

SCHEMA: Final = "tune.v1"


class TuneRun(Struct, frozen=True, kw_only=True):
    """`start`: the settings in force before; `changes`: what was proven faster; `written`: whether mira.toml has it."""

    schema: str
    taken_at: str
    group: str
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    documents: int
    outstanding: int
    pairs: int
    start: dict[str, Value]
    changes: dict[str, Value]
    written: bool
    duels: list[Duel]


def save_tune(run: TuneRun, folder: Path) -> Path:
    """Raises UsageError(out_unwritable)."""
    path = folder / f"{run.taken_at}-tune.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
    except OSError as error:
        raise UsageError("out_unwritable", f"{path}: {error.strerror}", "name another folder with --out") from None
    return path
