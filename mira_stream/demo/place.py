"""The demo's own folder: claimed before anything is written, held while the demo runs.

.mira-demo      marks the folder as ours; locked while a demo runs in it
project/        a copy of the MIRA project, its broker's data included: look around with --project OUT/project
corpus/ logs/   what was streamed; what the services said
kept/ scores/ epochs.parquet windows.parquet   what the exporter wrote
report.html
"""

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from mira_stream.config import FILE_NAME
from mira_stream.errors import ConfigError, DependencyError, UsageError

MARKER: Final = ".mira-demo"
PROJECT_PARTS: Final = ("rubrics", "prompts", "reliability", "labels")


@contextmanager
def claim(out: Path) -> Iterator[None]:
    """Hold `out` for one run. Raises UsageError for a folder that is not a demo's, or in use by another run."""
    if out.exists() and not out.is_dir():
        raise UsageError("out_foreign", f"{out} is no folder", "name a new folder with --out")
    if out.is_dir() and not (out / MARKER).exists() and any(out.iterdir()):
        raise UsageError(
            "out_foreign", f"{out} holds files that no demo wrote", "name a new or an empty folder with --out"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out / MARKER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError("out_unusable", f"{out}: {error.strerror}", "name a folder you may write to") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                "out_in_use", f"another demo runs in {out}", "wait for it, or name another --out"
            ) from None
        yield
    finally:
        os.close(lock)


def clear(out: Path) -> None:
    """Delete what an older demo left in its folder. Raises DependencyError if that cannot be done."""
    for path in out.iterdir():
        if path.name == MARKER:
            continue
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise DependencyError(
                "out_unusable",
                f"{path} cannot be deleted: {error.strerror}",
                "stop what uses it, or name another --out",
            ) from None


def copy_project(origin: Path, target: Path, sources: Mapping[str, Mapping[str, Any]], made: Collection[str]) -> None:
    """Copy a MIRA project to `target`; `sources` are laid over its [sources]. Students are linked, not copied.

    The copy has a broker of its own, whichever the project uses. Documents of the sources in `made` are written into
    the copy; the others stay where they are. Raises ConfigError.
    """
    try:
        table = msgspec.toml.decode((origin / FILE_NAME).read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            "project_missing", f"{origin} holds no {FILE_NAME}", "name a MIRA project with --project"
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigError("project_invalid", f"{origin / FILE_NAME}: {error}", "correct it") from None
    target.mkdir(parents=True)
    for part in PROJECT_PARTS:
        if (origin / part).is_dir():
            shutil.copytree(origin / part, target / part)
    if (origin / "students").is_dir():
        (target / "students").symlink_to((origin / "students").resolve(), target_is_directory=True)
    _make_absolute(table, origin.resolve(), made)
    table["broker"] = {"bootstrap_servers": "embedded", "data_dir": "broker"}
    known = table.setdefault("sources", {})
    for name, section in sources.items():
        known[name] = {**known.get(name, {}), **section}
    (target / FILE_NAME).write_bytes(msgspec.toml.encode(table))


def _make_absolute(table: dict[str, Any], origin: Path, made: Collection[str]) -> None:
    """Paths of the project that stay where they are. Students in students/ are in the copy, too, by a link."""
    for name, source in table.get("sources", {}).items():
        if name in made:
            source["path"] = f"corpus/{name}.jsonl"
        elif source.get("path"):
            source["path"] = str(origin / source["path"])
    for group in table.get("groups", {}).values():
        student = group.get("student", "")
        if isinstance(student, str) and student and Path(os.path.normpath(student)).parts[:1] != ("students",):
            group["student"] = str(origin / student)
