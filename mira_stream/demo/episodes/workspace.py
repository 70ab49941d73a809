"""The files of one episode and the tools an agent has over them. What a tool answers is what really happened."""

import ast
import difflib
import json
from collections.abc import Callable, Mapping
from typing import Final

from mira_stream.demo.episodes.sandbox import Check, check, evaluate
from mira_stream.demo.episodes.task import Task

HITS_MAX: Final = 8
DIFF_LINES_MAX: Final = 16

Arguments = Mapping[str, object]


class ToolError(Exception):
    """A call that could not be done; its text is the observation."""


class Workspace:
    """Two files, `<folder>/<name>.py` and `tests/test_<name>.py`, and eight tools."""

    def __init__(self, task: Task, code: str, tests: list[str]) -> None:
        self.path = task.path
        self.tests_path = f"tests/test_{task.name}.py"
        self.name = task.name
        self.files = {self.path: code, self.tests_path: "\n".join(tests)}
        self.first = dict(self.files)
        self.tools: dict[str, Callable[[Arguments], str]] = {
            "list_files": self._list_files,
            "view_file": self._view_file,
            "search": self._search,
            "str_replace": self._str_replace,
            "write_file": self._write_file,
            "run_tests": self._run_tests,
            "run_python": self._run_python,
            "show_diff": self._show_diff,
        }

    @property
    def code(self) -> str:
        return self.files[self.path]

    def call(self, name: str, arguments: str) -> str:
        """The observation of one tool call; a wrong call is answered by an error line, never raised."""
        try:
            given = json.loads(arguments)
            if not isinstance(given, dict):
                raise ToolError("arguments must be an object")
            if name not in self.tools:
                raise ToolError(f"no tool {name}, there are {', '.join(self.tools)}")
            return self.tools[name](given)
        except json.JSONDecodeError as error:
            return f"error: arguments are no JSON: {error}"
        except ToolError as error:
            return f"error: {error}"

    def checks(self) -> list[Check]:
        """Every line of the test file, run against the code as it stands."""
        return [check(self.code, line) for line in self.files[self.tests_path].splitlines() if line.strip()]

    def _list_files(self, given: Arguments) -> str:
        return "\n".join(f"{path} {len(text.splitlines())} lines" for path, text in sorted(self.files.items()))

    def _view_file(self, given: Arguments) -> str:
        lines = self._file(given).splitlines()
        start, end = _number(given, "start", 1), _number(given, "end", len(lines))
        if not 1 <= start <= end:
            raise ToolError(f"start {start} and end {end} are no range")
        return "\n".join(f"{number:2}| {line}" for number, line in enumerate(lines[:end], 1) if number >= start)

    def _search(self, given: Arguments) -> str:
        pattern = _text(given, "pattern")
        hits = [
            f"{path}:{number}: {line.strip()}"
            for path, text in sorted(self.files.items())
            for number, line in enumerate(text.splitlines(), 1)
            if pattern in line
        ]
        return "\n".join(hits[:HITS_MAX]) if hits else f"no line contains {pattern!r}"

    def _str_replace(self, given: Arguments) -> str:
        text, old, new = self._file(given), _text(given, "old"), _text(given, "new")
        count = text.count(old) if old else 0
        if count != 1:
            found = "was not found" if count == 0 else f"stands there {count} times"
            raise ToolError(f"the old text {found} in {given['path']}")
        line = text[: text.index(old)].count("\n") + 1
        self.files[str(given["path"])] = text.replace(old, new)
        return f"edited {given['path']} at line {line}"

    def _write_file(self, given: Arguments) -> str:
        path, content = _text(given, "path"), _text(given, "content")
        known = path in self.files
        self.files[path] = content
        return f"{'overwrote' if known else 'created'} {path}, {len(content.splitlines())} lines"

    def _run_tests(self, given: Arguments) -> str:
        return report(
            self.checks(), self.code, brief=not given.get("verbose", True), stop=bool(given.get("stop_early"))
        )

    def _run_python(self, given: Arguments) -> str:
        code = _text(given, "code")
        try:
            ast.parse(code, mode="eval")
        except SyntaxError as error:
            raise ToolError(f"SyntaxError: {error.msg}") from None
        outcome = evaluate(self.code, code)
        return f"{outcome.printed}\n{outcome.shown}".strip()

    def _show_diff(self, given: Arguments) -> str:
        lines = []
        for path in sorted(self.files):
            before = self.first.get(path, "").splitlines()
            diff = list(difflib.unified_diff(before, self.files[path].splitlines(), path, path, lineterm="", n=1))
            lines += diff[1:]
        if len(lines) > DIFF_LINES_MAX:
            lines = [*lines[:DIFF_LINES_MAX], f"({len(lines) - DIFF_LINES_MAX} more lines)"]
        return "\n".join(lines) or "no changes"

    def _file(self, given: Arguments) -> str:
        path = _text(given, "path")
        if path not in self.files:
            raise ToolError(f"no file {path}")
        return self.files[path]


def report(checks: list[Check], code: str, *, brief: bool, stop: bool) -> str:
    """What the test runner prints: a line a test (unless brief), details of what failed, and a sum."""
    lines: list[str] = []
    counts = {"pass": 0, "fail": 0, "error": 0}
    source = code.splitlines()
    for number, item in enumerate(checks, 1):
        counts[item.status] += 1
        if item.status == "pass":
            lines += [] if brief else [f"PASS {number} {item.call}"]
            continue
        lines.append(f"{item.status.upper()} {number} {item.call}")
        lines += [f"  {line}" for line in item.printed.splitlines()[:3]]
        if item.status == "fail":
            lines.append(f"  expected {item.expected}, got {item.shown}")
        else:
            if 0 < item.line <= len(source) and not brief:
                lines.append(f"  line {item.line}: {source[item.line - 1].strip()}")
            lines.append(f"  {item.shown}")
        if stop:
            break
    parts = [f"{count} {word}" for word, count in (("passed", counts["pass"]), ("failed", counts["fail"]))]
    if counts["error"]:
        parts.append(f"{counts['error']} crashed")
    return "\n".join([*lines, ", ".join(parts)])


def _text(given: Arguments, key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str):
        raise ToolError(f"missing argument {key}")
    return value


def _number(given: Arguments, key: str, default: int) -> int:
    value = given.get(key, default)
    if not isinstance(value, int):
        raise ToolError(f"{key} must be a number")
    return value
