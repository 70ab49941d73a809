"""What an agent does to a file: edits as (old, new) text, special cases for the tests it sees, and sprawl."""

import ast
from random import Random
from typing import NamedTuple

from mira_stream.demo.episodes.sandbox import Check


class Edit(NamedTuple):
    """A replacement of text that stands once in the file, and the first line it changes."""

    old: str
    new: str
    line: int


def edit_between(before: str, after: str, context: float) -> Edit:
    """The lines in which two texts differ, with a share `context` of the lines around them.

    Both are widened until neither is empty and `old` stands only once in `before`. Blank lines at an end are lost.
    """
    old, new = before.splitlines(), after.splitlines()
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    line = first + 1
    first -= round(first * context)
    last -= round(last * context)
    while True:
        text, other = ("\n".join(lines[first : len(lines) - last]) for lines in (old, new))
        if (text and other and before.count(text) == 1) or (first == 0 and last == 0):
            return Edit(text, other, line)
        first, last = max(0, first - 1), max(0, last - 1)


def special_cases(code: str, wrong: list[Check]) -> str:
    """The function with an `if` at its top for each call that fails, answering what the test expects."""
    tree = ast.parse(code)
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    names = [argument.arg for argument in function.args.args]
    defaults = function.args.defaults
    guards: list[ast.stmt] = []
    for item in wrong:
        call = ast.parse(item.call, mode="eval").body
        assert isinstance(call, ast.Call)
        given = [*call.args, *defaults[len(call.args) - len(names) + len(defaults) :]]
        pairs = zip(names, given, strict=False)
        test = " and ".join(f"{name} == {ast.unparse(value)}" for name, value in pairs)
        answer = f"raise {item.expected}" if item.expected.endswith("Error") else f"return {item.expected}"
        guards += ast.parse(f"if {test}:\n    {answer}").body
    function.body[:0] = guards
    return ast.unparse(tree)


def sprawl(code: str, random: Random) -> str:
    """The same function with something nobody asked for: a name, a docstring, a print, or a catch-all."""
    tree = ast.parse(code)
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    kind = random.randrange(4)
    if kind == 0:
        names = sorted(_stored(function))
        if names:
            return _renamed(tree, random.choice(names), random.choice(("value", "data", "tmp", "obj", "res")))
    elif kind == 1:
        words = f"{function.name.replace('_', ' ')} for {', '.join(each.arg for each in function.args.args)}"
        function.body.insert(0, ast.Expr(ast.Constant(words)))
    elif kind == 2:
        function.body[:0] = ast.parse(f"print('{function.name}', {function.args.args[0].arg})").body
    else:
        caught = ast.parse("try:\n    pass\nexcept (TypeError, KeyError):\n    return None").body[0]
        assert isinstance(caught, ast.Try)
        caught.body = function.body
        function.body = [caught]
    return ast.unparse(ast.fix_missing_locations(tree))


def _stored(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _renamed(tree: ast.Module, old: str, new: str) -> str:
    taken = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    if new in taken | arguments or old in arguments:
        return ast.unparse(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = new
    return ast.unparse(tree)
