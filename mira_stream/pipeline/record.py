"""What the pipeline has done so far: work/pipeline.json, one digest a finished step.

A step is done while the digest of what it depends on is the recorded one and its outputs are there. Outputs that are
there without a record (an imported rubric, a student from elsewhere) are taken as they are, and from then on recorded.
"""

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import orjson

from mira_stream.errors import ConfigError
from mira_stream.pipeline.steps import Step

FILE: Final = "pipeline.json"
ANEW: Final = "*"
"""In the record: outputs without a record of their own are not taken as they are."""
HASHED_BYTES_MAX: Final = 64 * 2**20
"""Larger inputs are known by size and time of change."""
State = Literal["done", "given", "due"]


class Record:
    """The record of one project, written through after every step."""

    def __init__(self, work: Path) -> None:
        self._path = work / FILE
        self._digests: dict[str, str] = {}
        try:
            self._digests = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return
        except orjson.JSONDecodeError as error:
            raise ConfigError(
                "pipeline_record", f"{self._path}: {error}", "delete it: what is there is then taken as it is"
            ) from None

    def state(self, step: Step) -> State:
        """`given`: its outputs are there, and this pipeline did not make them."""
        there = bool(step.outputs) and all(path.exists() for path in step.outputs)
        if not there:
            return "due"
        if step.name not in self._digests:
            return "due" if ANEW in self._digests else "given"
        return "done" if self._digests[step.name] == digest(step) else "due"

    def is_void(self, step: Step) -> bool:
        """Whether what earlier runs have kept for the step rests on something else than the step does now."""
        basis = _digest(step.basis)
        return bool(step.basis) and self._digests.get(_begun(step), basis) != basis

    def begin(self, step: Step) -> None:
        """Note what the step rests on from now on."""
        basis = _digest(step.basis)
        if step.basis and self._digests.get(_begun(step)) != basis:
            self._digests[_begun(step)] = basis
            self._write()

    def finished(self, step: Step) -> None:
        """Note that the step's outputs belong to its inputs as they are now."""
        self._digests[step.name] = digest(step)
        self._write()

    def begin_anew(self) -> None:
        """Everything is due again, whoever made it, until it is done once more."""
        self._digests = {ANEW: ""}
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(orjson.dumps(self._digests, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        os.replace(draft, self._path)


def _begun(step: Step) -> str:
    return f"{step.name} begun"


def digest(step: Step) -> str:
    """Hex sha256 over a step's settings and its inputs as they are."""
    settings = orjson.dumps([step.stage, step.settings], option=orjson.OPT_SORT_KEYS)
    return _digest(step.inputs, settings)


def _digest(paths: Sequence[Path], settings: bytes = b"") -> str:
    found = sha256(settings)
    for path in paths:
        found.update(f"\0{path.name}\0{_content(path)}".encode())
    return found.hexdigest()


def _content(path: Path) -> str:
    if not path.exists():
        return "absent"
    if path.is_dir():
        return " ".join(f"{child.name}:{_stamp(child)}" for child in sorted(path.rglob("*")) if child.is_file())
    return sha256(path.read_bytes()).hexdigest() if path.stat().st_size <= HASHED_BYTES_MAX else _stamp(path)


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"
