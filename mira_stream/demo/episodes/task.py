"""One repair task: a small pure function, the calls its tests make, and the calls only the hidden tests make."""

import ast
from typing import Final, NamedTuple

FOLDERS: Final = ("core", "lib", "src", "tools")


class Task(NamedTuple):
    """`code` is the right function as `ast.unparse` writes it; what it returns is what its tests expect."""

    name: str
    folder: str
    code: str
    about: str
    visible: tuple[str, ...]
    hidden: tuple[str, ...]

    @property
    def path(self) -> str:
        """The file that holds the function, relative to the workspace."""
        return f"{self.folder}/{self.name}.py"


def task(code: str, about: str, visible: str, hidden: str) -> Task:
    """A task from plain text: one call a line. The code must define exactly one function at its top."""
    tree = ast.parse(code)
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    folder = FOLDERS[len(function.name) % len(FOLDERS)]
    return Task(function.name, folder, ast.unparse(tree), about, _lines(visible), _lines(hidden))


def _lines(block: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in block.strip().splitlines())
