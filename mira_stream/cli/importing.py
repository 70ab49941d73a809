"""What importing a prompt and importing a rubric share: reading, `--map`, and never replacing what is in use."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mira_stream.errors import MiraError, UsageError


@contextmanager
def hinted(*command: str) -> Iterator[None]:
    """A way out that names options says the whole command they belong to: it can be copied."""
    try:
        yield
    except MiraError as error:
        words, dashes, options = error.fix.partition("--")
        if not dashes:
            raise
        raise type(error)(error.code, error.cause, f"{words}{shlex.join(command)} --{options}") from None


def read_text(path: Path) -> str:
    """The whole file as it is. Raises UsageError(file_unreadable)."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError("file_unreadable", f"{path}: {error.strerror}", "name a file you may read") from None
    except UnicodeDecodeError as error:
        raise UsageError("file_unreadable", f"{path}: byte {error.start} is no UTF-8", "save it as UTF-8") from None


def said_mapping(options: list[str] | None) -> dict[str, str]:
    """`--map A=B` as {A: B}. Raises UsageError(map_invalid)."""
    found: dict[str, str] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not (equals and name and value) or name in found:
            raise UsageError("map_invalid", f"--map {option!r}", "write --map NAME=VALUE, each NAME once")
        found[name] = value
    return found


def replaceable(path: Path, force: bool, is_placeholder: Callable[[str], bool]) -> None:
    """Raises UsageError(file_in_use) for a file that somebody made, unless forced."""
    if force or not path.exists() or is_placeholder(read_text(path)):
        return
    raise UsageError(
        "file_in_use",
        f"{path} is there already; labels, students and masks made with it fit no other",
        "to replace it: --force",
    )
