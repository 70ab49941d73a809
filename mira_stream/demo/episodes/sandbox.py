"""Runs code of this package's own bank (and mutants of it) in process: few builtins, a limit on steps and sizes.

Endless loops end by the step limit and runaway values by the size limit, so that every outcome is deterministic.
This is no sandbox for foreign code.
"""

import ast
import builtins
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FrameType
from typing import Any, Final, Literal, NamedTuple

STEPS_MAX: Final = 2_000
BITS_MAX: Final = 4_096
ITEMS_MAX: Final = 4_096
SHOWN_MAX: Final = 60

_ALLOWED: Final = """
    abs all any bool chr dict divmod enumerate filter float frozenset int isinstance len list map max min ord pow
    range repr reversed round set sorted str sum tuple zip ValueError KeyError IndexError TypeError
"""
_BUILTINS: Final = {name: getattr(builtins, name) for name in _ALLOWED.split()}
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")

Status = Literal["pass", "fail", "error"]


class Limit(BaseException):
    """More steps or larger values than any right solution needs."""


class Outcome(NamedTuple):
    """What one expression came to: `shown` is the value, or the error with its line, as a person sees it."""

    ok: bool
    shown: str
    line: int
    printed: str


class Check(NamedTuple):
    """One test: the call, what was expected, and what happened."""

    call: str
    status: Status
    expected: str
    shown: str
    line: int
    printed: str


def show(value: object) -> str:
    """`repr` with sets in order and without addresses, cut to SHOWN_MAX characters."""
    text = _ADDRESS.sub("", _ordered(value))
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."


def _ordered(value: object) -> str:
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(_ordered(item) for item in value)) + "}" if value else "set()"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_ordered(key)}: {_ordered(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_ordered, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_ordered, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


@lru_cache(maxsize=65_536)
def evaluate(code: str, expression: str) -> Outcome:
    """Run `code`, then the value of `expression` in it. Errors of either are an Outcome, never raised."""
    printed: list[str] = []
    say = {"print": lambda *values: printed.append(" ".join(map(show, values)))}
    space: dict[str, Any] = {"__builtins__": _BUILTINS | say}
    try:
        exec(compile(code, "<file>", "exec"), space)
        call = compile(expression, "<call>", "eval")
        value = _limited(lambda: eval(call, space))
        return Outcome(True, show(value), 0, "\n".join(printed))
    except SyntaxError as error:
        return Outcome(False, f"SyntaxError: {error.msg}", error.lineno or 0, "\n".join(printed))
    except Limit as error:
        return Outcome(False, f"Stopped: {error}", 0, "\n".join(printed))
    except Exception as error:
        shown = _ADDRESS.sub("", f"{type(error).__name__}: {error}")
        return Outcome(False, shown[: SHOWN_MAX + 30], _line(error), "\n".join(printed))


def check(code: str, statement: str) -> Check:
    """Run one line of a test file: `assert call == value` or `raises(Error, call)`."""
    call, expected, raises = read_test(statement)
    outcome = evaluate(code, call)
    if raises:
        status: Status = "pass" if not outcome.ok and outcome.shown.startswith(expected) else "fail"
        if not outcome.ok and status == "fail":
            status = "error"
        return Check(call, status, expected, outcome.shown, outcome.line, outcome.printed)
    if not outcome.ok:
        return Check(call, "error", expected, outcome.shown, outcome.line, outcome.printed)
    equal = outcome.shown == expected or evaluate(code, f"({call}) == ({expected})").shown == "True"
    status = "pass" if equal else "fail"
    return Check(call, status, expected, outcome.shown, 0, outcome.printed)


@lru_cache(maxsize=65_536)
def read_test(statement: str) -> tuple[str, str, bool]:
    """(call, expected, raises) of a line of a test file. Raises ValueError if it is no such line."""
    node = ast.parse(statement).body[0]
    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
        return ast.unparse(node.test.left), ast.unparse(node.test.comparators[0]), False
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and len(node.value.args) == 2:
        error, call = node.value.args
        return ast.unparse(call), ast.unparse(error), True
    raise ValueError(f"no test: {statement}")


@lru_cache(maxsize=4_096)
def write_test(code: str, call: str) -> str:
    """The line of a test file that holds the right code to what it does now."""
    outcome = evaluate(code, call)
    if outcome.ok:
        return f"assert {ast.unparse(ast.parse(call))} == {outcome.shown}"
    return f"raises({outcome.shown.partition(':')[0]}, {call})"


def _limited(run: Callable[[], object]) -> object:
    steps = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal steps
        steps += 1
        # Only at a line: raised while a generator is being closed, the error would be swallowed and tracing end.
        if event == "line":
            if steps > STEPS_MAX:
                raise Limit(f"no end after {STEPS_MAX} steps")
            if _too_large(frame.f_locals):
                raise Limit("a value grows without end")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return run()
    finally:
        sys.settrace(before)


def _too_large(values: Mapping[str, object]) -> bool:
    for value in values.values():
        if isinstance(value, int):
            if value.bit_length() > BITS_MAX:
                return True
        elif isinstance(value, str | list) and len(value) > ITEMS_MAX:
            return True
    return False


def _line(error: BaseException) -> int:
    """The last line of the file that the error went through; 0 if none."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<file>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
