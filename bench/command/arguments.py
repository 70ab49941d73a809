"""What a benchmark may be asked. Nonsense ends it with code 2 and one sentence, before anything is started."""

import argparse
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from mira_stream.cli.services import chosen_groups
from mira_stream.config import Project, load_project
from mira_stream.errors import MiraError
from mira_stream.scoring.origin import check_there

Number = TypeVar("Number", int, float)
USAGE: Final = 2
SECONDS_MIN: Final = 0.001


class Each(argparse.Action):
    """Values of which each is taken once, in their order: what is measured twice would be summed up as one."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, option: object = None) -> None:
        setattr(namespace, self.dest, list(dict.fromkeys(values)))


class Another(argparse.Action):
    """The same of an option that may come again."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, option: object = None) -> None:
        setattr(namespace, self.dest, list(dict.fromkeys([*(getattr(namespace, self.dest) or []), values])))


class Parser(argparse.ArgumentParser):
    """`about`: the script's docstring, which is its help."""

    def __init__(self, about: str | None) -> None:
        super().__init__(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add_argument(self, *names: Any, **given: Any) -> argparse.Action:
        """With its default in the help, unless it is a switch or has none. Of several values each counts once."""
        default = given.get("default")
        if "nargs" in given:
            given.setdefault("action", Each)
        if given.get("action") == "append":
            given["action"] = Another
        if default not in (None, False, "", [], argparse.SUPPRESS):
            given["help"] = f"{given.get('help') or ''} (default: %(default)s)".lstrip()
        return super().add_argument(*names, **given)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n")


def at_least(least: Number) -> Callable[[str], Number]:
    """A finite number of the kind of `least`."""
    kind = type(least)

    def read(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not (math.isfinite(number) and number >= least):
            word = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} will not do, give a {word} of at least {least:,}")
        return number

    return read


positive: Final = at_least(1)
seconds: Final = at_least(SECONDS_MIN)


def folder(text: str) -> Path:
    """One that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}, name one that is there")
    return path


def new_file(text: str) -> Path:
    """One that can be written; its folder is made."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder, name a file")
    new_folder(str(path.parent))
    if path.exists() and not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written, name another one")
    return path


def new_folder(text: str) -> Path:
    """One that can be written to; it is made."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be made ({error.strerror}), name another one") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{path} cannot be written to, name another one")
    return path


def project_of(parser: Parser, root: Path, groups: Sequence[str]) -> Project:
    """The project, which has these groups, and a student for each; else the end."""
    try:
        project = load_project(root, environment={})
        for group in chosen_groups(project, list(groups)):
            check_there(project, group)
    except MiraError as error:
        parser.error(f"{error.cause}: {error.fix}")
    return project
