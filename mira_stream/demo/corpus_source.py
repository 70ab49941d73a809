"""Functions and docstrings in Python source text."""

import ast
import warnings
from collections.abc import Iterator
from typing import NamedTuple


class Described(NamedTuple):
    """A function with a docstring: `code` is its source without the docstring, dedented."""

    qualname: str
    signature: str
    docstring: str
    code: str
    is_method: bool


def parsed(text: str) -> ast.Module | None:
    """The syntax tree; None for text that this interpreter cannot parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def described_functions(text: str) -> Iterator[Described]:
    """All documented functions and methods of a module; a name defined twice counts once."""
    tree = parsed(text)
    if tree is None:
        return
    lines = text.splitlines()
    seen = set()
    for prefix, node in _functions(tree, ""):
        docstring = ast.get_docstring(node)
        qualname = prefix + node.name
        if not docstring or qualname in seen or len(node.body) < 2:
            continue
        seen.add(qualname)
        yield Described(qualname, _signature(node), docstring, _without_docstring(node, lines), bool(prefix))


def _functions(
    owner: ast.Module | ast.ClassDef, prefix: str
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in owner.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    return f"{node.name}({ast.unparse(node.args)}){returns}"


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    first, docstring = min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.body[0]
    head = lines[first - 1 : docstring.lineno - 1]
    body = lines[docstring.end_lineno or docstring.lineno : node.end_lineno]
    indent = len(head[0]) - len(head[0].lstrip()) if head else 0
    return "\n".join(line[indent:] if not line[:indent].strip() else line for line in [*head, *body]).strip("\n")
