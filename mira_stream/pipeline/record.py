"""What the pipeline has done so far: work/pipeline.json, digests of what each finished step depended on.

A step is done while what it depends on is as recorded and its outputs are there. Outputs that are there without a
record (an imported rubric, a student from elsewhere) are given: taken as they are. A step that `stays` runs again only
when its outputs are removed or somebody asks for it: it is `given` if other hands made what is there, `kept` if this
pipeline did and its inputs have changed since.
"""

import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import orjson

from mira_stream.errors import ConfigError
from mira_stream.pipeline.steps import Step
from mira_stream.whole_file import replace_file

FILE: Final = "pipeline.json"
ANEW: Final = "*"
"""In the record: outputs without a record of their own are not taken as they are."""
DUE: Final = "due"
GIVEN: Final = "given"
"""Marks of a step without digests: begun or asked for, and not finished; taken as it was found, for ever."""
BEGUN: Final = " begun"
HASHED_BYTES_MAX: Final = 64 * 2**20
"""Larger inputs are known by size and time of change."""
State = Literal["done", "given", "kept", "due", "unneeded"]
"""`unneeded`: nothing reads what it would make (`Record.among`)."""
Parts = dict[str, str]
"""Digests by what they are of: a path below the project, or a [setting]."""


class Record:
    """The record of one project, written through after every step."""

    def __init__(self, work: Path) -> None:
        self._path = work / FILE
        self._known: dict[str, str | Parts] = {}
        try:
            self._known = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return
        except orjson.JSONDecodeError as error:
            raise ConfigError(
                "pipeline_record", f"{self._path}: {error}", "delete it: what is there is then taken as it is"
            ) from None

    def state(self, step: Step) -> State:
        """How a step stands."""
        return self.stands(step)[0]

    def stands(self, step: Step) -> tuple[State, str]:
        """How a step stands, and why."""
        missing = [path.name for path in step.outputs if not path.exists()]
        known = self._known.get(step.name)
        if missing or not step.outputs:
            return "due", f"{missing[0]} is not there" if missing else ""
        if known is None:
            return ("due", "everything anew") if ANEW in self._known else ("given", "not made here")
        if known == DUE:
            return "due", "begun or asked for, and not finished"
        if known == GIVEN:
            return "given", "not made here"
        other, changed = self._made_by_others(step), self._changed(step, known)
        if other:
            return "given" if step.stays else "due", f"other hands changed {other}"
        if changed:
            return "kept" if step.stays else "due", f"changed since: {', '.join(changed)}"
        return "done", ""

    def among(self, step: Step, steps: Sequence[Step]) -> tuple[State, str]:
        """How a step stands among all of its group. One that was never begun here is not due where each step that
        reads what it would make is there without it: what a given student was taught is not paid for a second time."""
        state, why = self.stands(step)
        made = {path for path in step.outputs if not path.exists()}
        readers = [one for one in steps if made.intersection(one.inputs)]
        begun = step.name in self._known or self.begun(step) or ANEW in self._known
        if state == "due" and readers and not begun and all(self.state(one) in ("given", "done") for one in readers):
            return "unneeded", f"{', '.join(one.name for one in readers)} are there without it"
        return state, why

    def begun(self, step: Step) -> bool:
        """Whether the step was ever under way here, so that it is known what it rests on."""
        return _begun(step) in self._known

    def is_void(self, step: Step) -> bool:
        """Whether what earlier runs have kept for the step rests on something else than the step does now."""
        basis = self._digest(step.basis)
        return bool(step.basis) and self._known.get(_begun(step), basis) != basis

    def begin(self, step: Step) -> None:
        """Note that the step is under way, and what it rests on from now on."""
        self._known[step.name] = DUE
        if step.basis:
            self._known[_begun(step)] = self._digest(step.basis)
        self.save()

    def want(self, steps: Iterable[Step]) -> None:
        """These steps are due, whatever is there, until they are done once more. Call `save` for it to outlast this."""
        self._known |= {step.name: DUE for step in steps}

    def finished(self, step: Step) -> None:
        """Note that the step's outputs belong to its inputs as they are now."""
        self._known[step.name] = self._parts(step)
        if step.watched:
            self._known[_made(step)] = {self._name(path): _content(path) for path in step.watched}
        self.save()

    def taken(self, step: Step) -> None:
        """Note that the step's outputs are taken as they were found; those of a step that stays for ever."""
        if step.stays or step.stage == "distill":
            self._known[step.name] = GIVEN
            self.save()
        else:
            self.finished(step)

    def begin_anew(self) -> None:
        """Everything is due again, whoever made it, until it is done once more. Call `save` for it to outlast this."""
        self._known = {name: value for name, value in self._known.items() if name.endswith(BEGUN)} | {ANEW: ""}

    def _made_by_others(self, step: Step) -> str:
        """The first of the watched files that is not as the step left it; empty if none."""
        made = self._known.get(_made(step))
        if not isinstance(made, dict):
            return ""
        return next((path.name for path in step.watched if made.get(self._name(path)) != _content(path)), "")

    def _changed(self, step: Step, known: str | Parts) -> list[str]:
        """What of the step's inputs and settings is not as recorded."""
        now = self._parts(step)
        if not isinstance(known, dict):
            return ["the record"]
        return [name for name in {**now, **known} if now.get(name) != known.get(name)]

    def _parts(self, step: Step) -> Parts:
        parts = {self._name(path): _content(path) for path in step.inputs}
        for name, value in step.settings.items():
            parts[f"[{name}]"] = sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return parts

    def _digest(self, paths: Iterable[Path]) -> str:
        return sha256("".join(f"\0{self._name(path)}\0{_content(path)}" for path in paths).encode()).hexdigest()

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self._path.parent.parent)

    def save(self) -> None:
        """Write the record, whole or not at all."""
        replace_file(self._path, orjson.dumps(self._known, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def _begun(step: Step) -> str:
    return f"{step.name}{BEGUN}"


def _made(step: Step) -> str:
    return f"{step.name} made"


def _content(path: Path) -> str:
    if not path.exists():
        return "absent"
    if path.is_dir():
        stamps = (f"{child.name}:{_stamp(child)}" for child in sorted(path.rglob("*")) if child.is_file())
        return sha256("\0".join(stamps).encode("utf-8", "surrogateescape")).hexdigest()
    return sha256(path.read_bytes()).hexdigest() if path.stat().st_size <= HASHED_BYTES_MAX else _stamp(path)


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"
