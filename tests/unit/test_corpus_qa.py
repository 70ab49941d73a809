"""Question-answer pairs cut from functions, their docstrings and the examples in them."""

import ast
from itertools import islice

import pytest

from mira_stream.demo import corpora, corpus_qa
from mira_stream.demo.corpus_qa import EXPLAIN, SHOW, WRITE, code_pair, example_pair, example_runs
from mira_stream.demo.corpus_source import Described, described_functions
from mira_stream.errors import UsageError
from mira_stream.messages import Document, Parts

MODULE = '''
class Box:
    """A box."""

    @property
    def size(self) -> int:
        """How large
        it is.
        """
        # counted anew
        return len(self.things)

    @size.setter
    def size(self, value):
        """Never mind."""
        raise AttributeError(value)


async def fetch(url, *, times=3):
    "Fetch it."

    return await get(url,
                     times)

def bare(): "Only a docstring."
def silent(x): return x
'''
SESSION = """Add numbers, one after the other.

    >>> add(1, 2)
    3
    >>> for i in range(2):
    ...     print(i)
    0
    1

Words between the runs, long enough to be a question of their own.

    >>> add(1)
    Traceback (most recent call last):
    TypeError: too few
"""


def described() -> dict[str, Described]:
    return {function.qualname: function for function in described_functions(MODULE)}


def test_functions_with_a_docstring_and_a_body() -> None:
    found = described()
    assert list(found) == ["Box.size", "fetch"]
    assert found["Box.size"].docstring == "How large\nit is."
    assert found["Box.size"].is_method
    assert not found["fetch"].is_method
    assert found["fetch"].signature == "fetch(url, *, times=3)"


def test_code_comes_without_its_docstring_and_indentation() -> None:
    found = described()
    assert found["Box.size"].code == (
        "@property\ndef size(self) -> int:\n    # counted anew\n    return len(self.things)"
    )
    for function in found.values():
        assert function.docstring not in function.code
        ast.parse(function.code)


@pytest.mark.parametrize("text", ["def broken(:\n", "x = '\0'", "(" * 5000])
def test_text_that_is_no_python_has_no_functions(text: str) -> None:
    assert list(described_functions(text)) == []


def test_each_form_and_wording_is_reached() -> None:
    function = described()["fetch"]
    pairs = [code_pair(function, i / 200) for i in range(200)]
    assert len({parts.question for parts in pairs}) == len(WRITE) + len(EXPLAIN)
    asked_for_code = [parts for parts in pairs if parts.answer == function.code]
    assert all(function.docstring in parts.question for parts in asked_for_code)
    assert 0.6 < len(asked_for_code) / len(pairs) < 0.72
    assert {parts.answer for parts in pairs} == {function.code, function.docstring}


def test_braces_of_a_docstring_are_left_alone() -> None:
    function = Described("f", "f(x={})", "Maps {x} to {} and {docstring}.", "def f(x={}):\n    return x", False)
    parts = code_pair(function, 0.0)
    assert "Maps {x} to {} and {docstring}." in parts.question
    assert "f(x={})" in parts.question


def test_runs_of_examples() -> None:
    runs = example_runs(SESSION)
    assert [len(examples) for _, examples in runs] == [2, 1]
    assert runs[1][0].startswith("Words between")


def test_a_docstring_with_broken_examples_has_none() -> None:
    assert example_runs(">>> x\n  >>>y\n") == []


def test_pairs_of_examples() -> None:
    function = Described("add", "add(*numbers)", SESSION, "def add(*numbers): ...", False)
    prose, examples = example_runs(SESSION)[0]
    printed = example_pair(function, prose, examples, 0.1)
    assert printed.answer == "3\n0\n1"
    assert ">>> for i in range(2):\n...     print(i)" in printed.question
    shown = [example_pair(function, prose, examples, 0.4 + 0.6 * i / 50) for i in range(50)]
    assert all("Add numbers, one after the other." in parts.question for parts in shown)
    assert {parts.answer for parts in shown} == {">>> add(1, 2)\n3\n>>> for i in range(2):\n...     print(i)\n0\n1"}


def test_an_example_without_output_is_never_asked_for_its_output() -> None:
    function = Described("quiet", "quiet()", ">>> quiet()\n>>> quiet()", "def quiet(): ...", False)
    prose, examples = example_runs(function.docstring)[0]
    pairs = [example_pair(function, prose, examples, i / 50) for i in range(50)]
    assert len({parts.question for parts in pairs}) == len(SHOW)
    assert {parts.answer for parts in pairs} == {">>> quiet()\n>>> quiet()"}


@pytest.mark.parametrize("source", ["docstrings", "doctests"])
def test_documents_found_on_this_machine(source: str) -> None:
    found = list(corpora.documents(source, 60))
    assert len({document.id for document in found}) == 60
    assert all(document.id.startswith(f"{source}/") and document.source == source for document in found)
    assert all(filled(document) for document in found)
    assert len({document.meta["of"] for document in found}) >= 10


def filled(document: Document) -> bool:
    parts = document.parts
    return isinstance(parts, Parts) and bool(parts.question.strip()) and bool(parts.answer.strip())


def test_the_same_documents_in_the_same_order() -> None:
    first, second = ([document.id for document in islice(corpus_qa.doctests(lambda _: True), 40)] for _ in range(2))
    assert first == second


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(UsageError, match="source_unknown"):
        corpora.documents("books", 1)
