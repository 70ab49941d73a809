"""Saved runs: one JSON file each, named by when and what."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain, count
from math import isclose
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from mira_stream.benching.result import SCHEMA, Kind, Latency, Run, Turn
from mira_stream.errors import UsageError

FOLDER: Final = "bench"
ROOM_BYTES: Final = 2**18
"""What a run and its plot may take."""
STAMP: Final = "%Y%m%dT%H%M%SZ"


def stamp(now_ms: int) -> str:
    """20260131T235959Z."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime(STAMP)


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
            with suppress(FileExistsError):
                _write_new(tried, content)
                return tried
    except OSError as error:
        raise _unwritable(path, error) from None
    raise AssertionError("numbers do not end")


def _write_new(path: Path, content: bytes) -> None:
    """Whole or not at all. Raises FileExistsError where there is one."""
    with path.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            path.unlink()
            raise


def check_out(folder: Path) -> None:
    """Before what takes long: what comes of it can be saved there. Raises UsageError(out_unwritable)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM_BYTES))
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError("out_unwritable", f"{path}: {error.strerror}", "name another folder with --out")


class _Named(Struct):
    schema: str


class _Group(Struct):
    """What of a group's settings something is made of."""

    mode: str = ""
    served_modes: list[str] = []
    tensor_parallel_size: Annotated[int, Meta(ge=1)] = 1
    engine: str = ""
    base_urls: list[str] = []


class _Settings(Struct):
    groups: dict[str, _Group]
    limits: dict[str, Any] = {}
    partitions: Annotated[int, Meta(ge=1)] = 1
    train_cutoff_tokens: Annotated[int, Meta(ge=0)] = 0


class _WithSettings(Struct):
    """So that an error names the place from the top."""

    settings: _Settings


def load_run(path: Path) -> Run:
    """Raises UsageError(bench_unreadable), also for figures that no run has."""
    try:
        content = path.read_bytes()
        schema = msgspec.json.decode(content, type=_Named).schema
        if schema != SCHEMA:
            fix = "name a run of bench stream, engine or kafka (what modes and tune save has its comparison in it)"
            raise UsageError("bench_unreadable", f"{path}: schema {schema!r}, not {SCHEMA!r}", fix)
        run = msgspec.json.decode(content, type=Run)
        if _has_groups(run.settings):
            msgspec.convert({"settings": run.settings}, type=_WithSettings)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise UsageError("bench_unreadable", f"{path}: {what}", "name a file that `mira-stream bench` saved") from None
    if wrong := next((why for why, is_so in _WRONG.items() if is_so(run)), ""):
        raise UsageError("bench_unreadable", f"{path}: {wrong}", "measure again")
    return run


def _is_time(text: str) -> bool:
    try:
        return stamp(round(datetime.strptime(text, STAMP).replace(tzinfo=UTC).timestamp() * 1000)) == text
    except ValueError:
        return False


def _is_of_its_turns(run: Run) -> bool:
    block = run.result
    return (block.repetitions, block.documents, block.dead_letters) == (
        len(run.turns),
        sum(turn.documents for turn in run.turns),
        sum(turn.dead_letters for turn in run.turns),
    )


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


def _lasts(turn: Turn) -> bool:
    """Its windows are all of its time."""
    return isclose(sum(part.seconds for part in turn.windows), turn.seconds, rel_tol=1e-6)


def _latencies(turn: Turn) -> list[Latency]:
    return [turn.latency_ms, *(part.latency_ms for part in turn.windows if part.latency_ms is not None)]


def _in_order(turn: Turn) -> bool:
    return all(one.p50 <= one.p95 <= one.p99 for one in _latencies(turn))


def _within(turn: Turn) -> bool:
    """No document takes longer than the turn, which lasts from the first one due to the last outcome."""
    return all(one.p99 <= 1000 * turn.seconds + 1 for one in _latencies(turn))


_WRONG: Final[dict[str, Callable[[Run], bool]]] = {
    "its settings name no group that was measured": lambda run: not _has_groups(run.settings),
    "its windows do not add up to its turns": lambda run: not all(map(_adds_up, run.turns)),
    "its windows last longer or shorter than their turn": lambda run: not all(map(_lasts, run.turns)),
    "its percentiles are out of order": lambda run: not all(map(_in_order, run.turns)),
    "a document takes longer than its turn": lambda run: not all(map(_within, run.turns)),
    "its result is not that of its turns": lambda run: not _is_of_its_turns(run),
    "its prompts are shorter than their frame": lambda run: not all(map(_fits, run.turns)),
    "its taken_at is no time": lambda run: not _is_time(run.taken_at),
}
"""What no saved run is, and how to tell."""
