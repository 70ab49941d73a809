"""Where a training keeps its checkpoints, and whether they are still checkpoints of the same training.

A training's folder is `.<group>.training` beside the student's. It is gone when the student is published.
"""

import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

STATE: Final = "trainer_state.json"
ORIGIN: Final = "origin.json"
PREFIX: Final = "checkpoint-"


class Resumed(NamedTuple):
    """`checkpoint` None: from the beginning; `changed`: parts of the training that are not what they were."""

    folder: Path
    checkpoint: Path | None
    changed: list[str]


def training_folder(student: Path) -> Path:
    return student.with_name(f".{student.name}.training")


def digest(value: Any) -> str:
    """First 12 hex of the sha256 of a value's canonical JSON."""
    return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def open_training(student: Path, origin: Mapping[str, str]) -> Resumed:
    """The training's folder with its last whole checkpoint; emptied if the training's origin is another one.

    `origin`: what a training is made of, as digests by name (recipe, labels, rubric, ...).
    """
    folder = training_folder(student)
    before = _origin(folder)
    changed = sorted(name for name in {*before, *origin} if before.get(name) != origin.get(name)) if before else []
    if changed or not before:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / ORIGIN).write_bytes(orjson.dumps(dict(origin), option=orjson.OPT_INDENT_2))
    return Resumed(folder, _last_whole(folder), changed)


def _origin(folder: Path) -> dict[str, str]:
    try:
        origin: dict[str, str] = orjson.loads((folder / ORIGIN).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return origin


def _last_whole(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; newer ones are removed. The Trainer writes its state last."""
    found = sorted(folder.glob(f"{PREFIX}*"), key=lambda path: int(path.name.removeprefix(PREFIX)), reverse=True)
    for path in found:
        try:
            orjson.loads((path / STATE).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            shutil.rmtree(path, ignore_errors=True)
            continue
        return path
    return None
