"""Faults: one small change to a function's syntax tree, kept if its visible tests notice it."""

import ast
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from mira_stream.demo.episodes.sandbox import check, write_test
from mira_stream.demo.episodes.task import Task

FAULTS_MAX: Final = 24
"""Mutants kept of one function."""

_COMPARE: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_BINARY: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Div,
    ast.Div: ast.FloorDiv,
    ast.Mod: ast.FloorDiv,
}
_METHODS: Final = {
    "append": "extend",
    "extend": "append",
    "lstrip": "rstrip",
    "rstrip": "lstrip",
    "add": "discard",
    "startswith": "endswith",
    "lower": "upper",
    "upper": "lower",
    "pop": "index",
    "partition": "rpartition",
}
_FUNCTIONS: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """A faulty version of a task's function. `name` is `<kind>-<line>-<ordinal>`."""

    name: str
    kind: str
    line: int
    code: str


class _Swap(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST | None) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST | None:
        return self.new if node is self.old else self.generic_visit(node)


@lru_cache(maxsize=256)
def mutants(task: Task) -> tuple[Mutant, ...]:
    """Up to FAULTS_MAX faults of the task that at least one visible test notices, kinds taken in turn."""
    tests = [write_test(task.code, call) for call in task.visible]
    kept: dict[str, Mutant] = {}
    for mutant in _all(task):
        if mutant.code in kept or mutant.code == task.code:
            continue
        if any(check(mutant.code, test).status != "pass" for test in tests):
            kept[mutant.code] = mutant
    kinds: dict[str, int] = {}
    order = []
    for mutant in kept.values():
        kinds[mutant.kind] = kinds.get(mutant.kind, 0) + 1
        order.append((kinds[mutant.kind], mutant))
    return tuple(mutant for _, mutant in sorted(order, key=lambda pair: pair[0])[:FAULTS_MAX])


@lru_cache(maxsize=256)
def silent_mutants(task: Task) -> tuple[Mutant, ...]:
    """Faults that every visible test lets pass and some hidden test notices."""
    visible = [write_test(task.code, call) for call in task.visible]
    hidden = [write_test(task.code, call) for call in task.hidden]
    return tuple(
        mutant
        for mutant in _all(task)
        if all(check(mutant.code, test).status == "pass" for test in visible)
        and any(check(mutant.code, test).status != "pass" for test in hidden)
    )


@lru_cache(maxsize=256)
def surviving_mutants(task: Task) -> tuple[Mutant, ...]:
    """Changes that no test notices, visible or hidden."""
    tests = [write_test(task.code, call) for call in (*task.visible, *task.hidden)]
    return tuple(
        mutant
        for mutant in _all(task)
        if mutant.code != task.code and all(check(mutant.code, test).status == "pass" for test in tests)
    )


@lru_cache(maxsize=256)
def _all(task: Task) -> tuple[Mutant, ...]:
    nodes = list(ast.walk(ast.parse(task.code)))
    names = sorted({node.id for node in nodes if isinstance(node, ast.Name)} & _locals(nodes))
    found: list[Mutant] = []
    for index, node in enumerate(nodes):
        for kind, new in _faults(node, names):
            tree = ast.parse(task.code)
            twin = list(ast.walk(tree))[index]
            _Swap(twin, new).visit(tree)
            try:
                code = ast.unparse(ast.fix_missing_locations(tree))
                compile(code, "<file>", "exec")
            except (SyntaxError, ValueError):
                continue
            line = getattr(node, "lineno", 0)
            found.append(Mutant(f"{kind}-{line}-{len(found)}", kind, line, code))
    return tuple(found)


def _locals(nodes: list[ast.AST]) -> set[str]:
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {node.arg for node in nodes if isinstance(node, ast.arg)}


def _faults(node: ast.AST, names: list[str]) -> Iterator[tuple[str, ast.AST | None]]:
    """(kind, what stands in the node's place) for every fault known for this node; None drops a statement."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        yield "compare", ast.Compare(node.left, [_COMPARE[type(node.ops[0])]()], node.comparators)
        if isinstance(node.ops[0], ast.Eq):
            yield "negate", ast.Compare(node.left, [ast.NotEq()], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        yield "operator", ast.BinOp(node.left, _BINARY[type(node.op)](), node.right)
        yield "operand", ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.AugAssign) and type(node.op) in _BINARY:
        yield "operator", ast.AugAssign(node.target, _BINARY[type(node.op)](), node.value)
        yield "drop", None
    elif isinstance(node, ast.BoolOp):
        yield "logic", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        yield "logic", node.values[0]
    elif isinstance(node, ast.UnaryOp):
        yield "negate", node.operand
    elif isinstance(node, ast.If):
        yield "negate", ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        if node.orelse:
            yield "branch", ast.If(node.test, node.body, [])
        else:
            yield "drop", None
    elif isinstance(node, ast.IfExp):
        yield "branch", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Assign | ast.Expr | ast.Continue | ast.Break):
        yield "drop", None
        if isinstance(node, ast.Break):
            yield "loop", ast.Continue()
    elif isinstance(node, ast.Constant):
        yield from (("constant", ast.Constant(value)) for value in _constants(node.value))
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        place = names.index(node.id)
        other = names[(place + 1) % len(names)]
        if other != node.id:
            yield "variable", ast.Name(other, ast.Load())
    elif isinstance(node, ast.Call):
        yield from _call_faults(node)


def _constants(value: object) -> Iterator[bool | int | str]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
        yield value - 1
    elif isinstance(value, str):
        yield value[1:] if len(value) > 1 else {"": " ", " ": "", "-": "_", ",": ";"}.get(value, "")


def _call_faults(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.func, ast.Attribute):
        if not node.args:
            yield "method", node.func.value
        if node.func.attr in _METHODS:
            changed = ast.Attribute(node.func.value, _METHODS[node.func.attr], ast.Load())
            yield "method", ast.Call(changed, node.args, node.keywords)
    elif isinstance(node.func, ast.Name):
        if node.func.id == "sorted":
            yield "order", ast.Call(node.func, node.args, [*node.keywords, ast.keyword("reverse", ast.Constant(True))])
        if node.func.id in _FUNCTIONS:
            yield "method", ast.Call(ast.Name(_FUNCTIONS[node.func.id], ast.Load()), node.args, node.keywords)
    if len(node.args) == 2 and not node.keywords:
        yield "arguments", ast.Call(node.func, node.args[::-1], [])
