"""The anchored prompt: system = calibration (byte-identical for a group, so prefix caching holds it),
user = template, then the document last. Templates are literal; only the three names are replaced, once each.
"""

from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from mira_stream.errors import ConfigError
from mira_stream.rubric.anchors import CALIBRATION_ANCHORS, Part, Rubric

PLACEHOLDERS: Final = ("${calibration}", "${dimensions}", "${document}")
NOT_IMPORTED: Final = "NOT IMPORTED YET"
"""A template that begins so stands for one that a student was trained with and that is not here: nothing is served."""
PART_TITLES: Final[dict[Part, str]] = {
    "think": "Of the thinking:",
    "combined": "Of thinking and answer together:",
    "answer": "Of the answer:",
}


class Prompt(NamedTuple):
    """A group's two prompt parts with all but the document filled in."""

    system: str
    before_document: str
    after_document: str
    files_sha256: str

    def user(self, view: str) -> str:
        return f"{self.before_document}{view}{self.after_document}"

    def messages(self, view: str) -> list[dict[str, str]]:
        """Chat messages for a rendered view; an empty system part is left out."""
        user = {"role": "user", "content": self.user(view)}
        return [{"role": "system", "content": self.system}, user] if self.system else [user]

    def view_of(self, user: str) -> str:
        """The rendered view inside a user message made by `user` (a teacher reads it out again)."""
        return user.removeprefix(self.before_document).removesuffix(self.after_document)


def calibration(rubric: Rubric) -> str:
    """The top anchors' canonical examples, one line each: `[A1] 9: reason`."""
    lines = []
    for anchor in rubric.anchors[:CALIBRATION_ANCHORS]:
        lines += [f"[{anchor.slot}] {example.score:g}: {example.reason}" for example in anchor.examples]
    return "\n".join(lines)


def dimensions(rubric: Rubric) -> str:
    """One line a slot: `[A1] name`. Where a rubric has parts, a title stands before each run of one part."""
    lines: list[str] = []
    part: Part | None = None
    for anchor in rubric.anchors:
        if anchor.part is not None and anchor.part != part:
            lines.append(PART_TITLES[anchor.part])
        part = anchor.part
        lines.append(f"[{anchor.slot}] {anchor.name}")
    return "\n".join(lines)


def load_prompt(directory: Path, rubric: Rubric) -> Prompt:
    """Fill the templates system.txt and user.txt. Raises ConfigError if ${document} is not there once, if the
    templates are still to be imported, or if they ask for a calibration that the rubric does not have."""
    try:
        system = (directory / "system.txt").read_text(encoding="utf-8")
        user = (directory / "user.txt").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            "prompt_missing", f"{error.filename} does not exist", "a group needs system.txt and user.txt"
        ) from None
    return fill_prompt(system, user, directory, rubric)


def fill_prompt(system: str, user: str, directory: Path, rubric: Rubric) -> Prompt:
    """The prompt of two templates that stand in `directory`, or will. Raises ConfigError as `load_prompt` does."""
    check_templates(system, user, directory, rubric)
    digest = sha256(system.encode() + b"\0" + user.encode()).hexdigest()
    before, after = user.split("${document}")
    return Prompt(_fill(system, rubric), _fill(before, rubric), _fill(after, rubric), digest)


def check_templates(system: str, user: str, directory: Path, rubric: Rubric | None) -> None:
    """Raises ConfigError as `load_prompt` does. `rubric` None: it is not there yet."""
    if NOT_IMPORTED in (system[: len(NOT_IMPORTED)], user[: len(NOT_IMPORTED)]):
        raise ConfigError(
            "prompt_not_imported",
            f"{directory} holds no template yet, and without its own a student is miscalibrated",
            f"mira-stream prompt import --group {directory.name} --project {_root(directory)} --system FILE"
            " --user FILE",
        )
    if user.count("${document}") != 1 or "${document}" in system:
        raise ConfigError(
            "prompt_invalid",
            f"{directory}: ${{document}} must stand once, in user.txt",
            "put it at the end of user.txt",
        )
    if rubric is not None and "${calibration}" in system + user and not calibration(rubric):
        raise ConfigError(
            "rubric_uncalibrated",
            f"the prompt of {directory.name} asks for ${{calibration}}, and its rubric has no examples",
            "FILE is the anchor file the student was trained with:"
            f" mira-stream rubric import FILE --group {directory.name} --project {_root(directory)}",
        )


def _root(directory: Path) -> Path:
    """The project of prompts/<group>."""
    return directory.parent.parent


def _fill(template: str, rubric: Rubric) -> str:
    # Split first, so that text put in for one name is never searched for the other.
    pieces = template.split("${dimensions}", 1)
    filled = [piece.replace("${calibration}", calibration(rubric), 1) for piece in pieces]
    return dimensions(rubric).join(filled)
