"""Sandbox, faults, edits and tools of the repair episodes."""

import ast
import json
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.demo.episodes.bank import TASKS
from mira_stream.demo.episodes.fixes import edit_between, special_cases, sprawl
from mira_stream.demo.episodes.mutate import mutants, silent_mutants
from mira_stream.demo.episodes.sandbox import check, evaluate, read_test, show, write_test
from mira_stream.demo.episodes.task import Task, task
from mira_stream.demo.episodes.workspace import Workspace

DOUBLE = task("def double(x, times=2):\n    return x * times", "It doubles.", "double(2)\ndouble('a')", "double(0)")
LINES = st.lists(st.text("abc =", min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=8, unique=True)


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("def f():\n    while True:\n        pass", "Stopped: no end after 2000 steps"),
        ("def f():\n    x = 2\n    while x:\n        x = x * x", "Stopped: a value grows without end"),
        ("def f():\n    x = 'a'\n    while x:\n        x = x + x", "Stopped: a value grows without end"),
        ("def f():\n    while not any(n > 1 for n in [0, 1, 2, 3] if n > 5):\n        pass", "Stopped: no end"),
        ("def f():\n    while any(n > 1 for n in [3, 2, 1, 0]):\n        pass", "Stopped: no end after 2000 steps"),
        ("def f():\n    return f()", ("RecursionError", "Stopped")),
        ("def f():\n    return open('x')", "NameError: name 'open' is not defined"),
        ("import os\ndef f():\n    return os", "ImportError"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_code_that_must_not_win(code: str, shown: str | tuple[str, ...]) -> None:
    outcome = evaluate(code, "f()")
    assert not outcome.ok
    assert outcome.shown.startswith(shown)


def test_a_test_holds_by_equality() -> None:
    assert check("def f(x):\n    return x / 1", "assert f(2) == 2").status == "pass"
    assert check("def f(x):\n    return x / 1", "assert f(2) == 3")[1:4] == ("fail", "3", "2.0")
    assert check("def f(x):\n    return {x}", "assert f(2) == {2}").status == "pass"


def test_tracing_is_put_back() -> None:
    before = sys.gettrace()
    evaluate("def f():\n    while True:\n        pass", "f() or 1")
    assert sys.gettrace() is before


def test_an_error_knows_its_line_and_what_was_printed() -> None:
    outcome = evaluate("def f(x):\n    print('in', x)\n    y = x + 1\n    return y", "f('a')")
    assert (outcome.ok, outcome.line, outcome.printed) == (False, 3, "'in' 'a'")
    assert outcome.shown.startswith("TypeError")


@given(st.recursive(st.integers() | st.text(max_size=3) | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_show_of_plain_values_is_repr(value: object) -> None:
    text = repr(value)
    assert show(value) == (text if len(text) <= 60 else text[:57] + "...")


@given(st.sets(st.text("xyz", max_size=3), min_size=1, max_size=4))
def test_show_of_sets_has_one_order(values: set[str]) -> None:
    assert show(values) == "{" + ", ".join(sorted(map(repr, values))) + "}"


def test_written_tests_hold_for_the_right_code_and_read_back() -> None:
    for each in TASKS:
        for call in (*each.visible, *each.hidden):
            line = write_test(each.code, call)
            assert check(each.code, line).status == "pass", line
            read, expected, raises = read_test(line)
            assert ast.dump(ast.parse(read)) == ast.dump(ast.parse(call))
            assert expected
            assert raises == line.startswith("raises(")
    with pytest.raises(ValueError, match="no test"):
        read_test("x = 1")


@pytest.mark.parametrize("each", TASKS, ids=lambda each: each.name)
def test_every_fault_is_noticed_and_is_one_change(each: Task) -> None:
    found = mutants(each)
    assert 8 <= len(found) == len({mutant.name for mutant in found})
    tests = [write_test(each.code, call) for call in each.visible]
    for mutant in found:
        assert any(check(mutant.code, test).status != "pass" for test in tests)
        assert ast.unparse(ast.parse(mutant.code)) == mutant.code != each.code
    for mutant in silent_mutants(each):
        assert all(check(mutant.code, test).status == "pass" for test in tests)


def test_most_fitted_fixes_are_caught_by_hidden_tests() -> None:
    caught = fitted = 0
    for each in TASKS:
        tests = [write_test(each.code, call) for call in each.visible]
        hidden = [write_test(each.code, call) for call in each.hidden]
        for mutant in mutants(each)[::2]:
            wrong = [item for item in (check(mutant.code, test) for test in tests) if item.status != "pass"]
            code = special_cases(mutant.code, wrong)
            if all(check(code, test).status == "pass" for test in tests):
                fitted += 1
                caught += any(check(code, test).status != "pass" for test in hidden)
    assert 500 < caught <= fitted
    assert caught > 0.97 * fitted


@given(LINES, LINES, st.floats(0, 1))
def test_an_edit_turns_one_text_into_the_other(old: list[str], new: list[str], context: float) -> None:
    before, after = "\n".join(old), "\n".join(new)
    edit = edit_between(before, after, context)
    assert edit.new
    assert before.count(edit.old) == 1
    assert before.replace(edit.old, edit.new) == after
    assert 1 <= edit.line <= len(old) + 1


@given(st.sampled_from(TASKS), st.integers(0, 99))
def test_sprawl_keeps_what_tests_see(each: Task, seed: int) -> None:
    code = sprawl(each.code, Random(seed))
    assert all(check(code, write_test(each.code, call)).status == "pass" for call in each.visible)


class TestWorkspace:
    def space(self, code: str = "def double(x, times=3):\n    return x * times") -> Workspace:
        return Workspace(DOUBLE, code, [write_test(DOUBLE.code, call) for call in DOUBLE.visible])

    def call(self, space: Workspace, name: str, **given: object) -> str:
        return space.call(name, json.dumps(given))

    def test_view_has_line_numbers(self) -> None:
        assert self.call(self.space(), "view_file", path=DOUBLE.path, start=2) == " 2|     return x * times"

    def test_search_names_file_and_line(self) -> None:
        space = self.space()
        assert self.call(space, "search", pattern="return") == f"{DOUBLE.path}:2: return x * times"
        assert self.call(space, "search", pattern="zzz") == "no line contains 'zzz'"

    def test_edit_run_and_diff(self) -> None:
        space = self.space()
        assert self.call(space, "run_tests").splitlines() == [
            "FAIL 1 double(2)",
            "  expected 4, got 6",
            "FAIL 2 double('a')",
            "  expected 'aa', got 'aaa'",
            "0 passed, 2 failed",
        ]
        assert self.call(space, "str_replace", path=DOUBLE.path, old="times=3", new="times=2").endswith("at line 1")
        assert self.call(space, "run_tests") == "PASS 1 double(2)\nPASS 2 double('a')\n2 passed, 0 failed"
        assert self.call(space, "run_tests", verbose=False) == "2 passed, 0 failed"
        assert self.call(space, "run_python", code="double(4)") == "8"
        assert "-def double(x, times=3):\n+def double(x, times=2):" in self.call(space, "show_diff")

    def test_new_files_are_listed_and_shown(self) -> None:
        space = self.space()
        assert self.call(space, "write_file", path="notes.txt", content="a\nb") == "created notes.txt, 2 lines"
        assert "notes.txt 2 lines" in self.call(space, "list_files")
        assert "+a" in self.call(space, "show_diff")

    @pytest.mark.parametrize(
        ("name", "arguments", "answer"),
        [
            ("view_file", '{"path": "x"', "error: arguments are no JSON: "),
            ("view_file", "[1]", "error: arguments must be an object"),
            ("shell", "{}", "error: no tool shell, there are list_files"),
            ("view_file", '{"file": "x"}', "error: missing argument path"),
            ("view_file", '{"path": "x"}', "error: no file x"),
            ("view_file", f'{{"path": "{DOUBLE.path}", "start": "one"}}', "error: start must be a number"),
            (
                "view_file",
                f'{{"path": "{DOUBLE.path}", "start": 3, "end": 1}}',
                "error: start 3 and end 1 are no range",
            ),
            (
                "str_replace",
                f'{{"path": "{DOUBLE.path}", "old": "zz", "new": ""}}',
                "error: the old text was not found",
            ),
            (
                "str_replace",
                f'{{"path": "{DOUBLE.path}", "old": "x", "new": ""}}',
                "error: the old text stands there 2",
            ),
            ("run_python", '{"code": "double("}', "error: SyntaxError"),
        ],
    )
    def test_wrong_calls_are_answered(self, name: str, arguments: str, answer: str) -> None:
        space = self.space()
        before = dict(space.files)
        assert space.call(name, arguments).startswith(answer)
        assert space.files == before
