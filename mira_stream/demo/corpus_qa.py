"""Source group `qa`: docstrings and the code they document; examples of docstrings and what they print."""

import doctest
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import Final

from mira_stream.chance import u
from mira_stream.demo.corpus_files import LibraryFile, distribution_files, mixed, spread, stdlib_files
from mira_stream.demo.corpus_source import Described, described_functions
from mira_stream.messages import Document, Parts

DOCSTRING_CHARACTERS: Final = (60, 4000)
CODE_LINES: Final = (4, 150)
EXAMPLE_CHARACTERS_MIN: Final = 80

WRITE: Final = (
    "Write the Python {kind} `{signature}`.\n\n{docstring}",
    "How can `{signature}` be implemented in Python? It should do this:\n\n{docstring}",
    "Implement this {kind}.\n\n    {signature}\n\n{docstring}",
    "I need a {kind} called {name}. Its documentation says:\n\n{docstring}\n\nPlease show the code.",
)
EXPLAIN: Final = (
    "What does this {kind} do?\n\n{code}",
    "Please document the following code.\n\n{code}",
    "Explain `{name}`:\n\n{code}",
    "{code}\n\nWrite the docstring for this {kind}.",
)
SHOW: Final = (
    "Show an example of `{name}`.\n\n{summary}",
    "How do I use `{name}`? The documentation says: {summary}",
    "{summary}\n\nHow does one write that with `{name}`?",
)
PRINT: Final = (
    "What does this print?\n\n{code}",
    "I type these lines at the Python prompt. What do I see?\n\n{code}",
    "Predict the output of this session with `{name}`.\n\n{code}",
)


def docstrings(wanted: Callable[[str], bool]) -> Iterator[Document]:
    """From a description to the code (two of three) or from the code to its description."""
    return spread(_modules(), _docstring_documents, wanted)


def doctests(wanted: Callable[[str], bool]) -> Iterator[Document]:
    """How to use something, answered by its documented example; or what an example prints."""
    return spread(_modules(), _doctest_documents, wanted)


@cache
def _modules() -> tuple[LibraryFile, ...]:
    return tuple(mixed(chain(stdlib_files(), distribution_files((".py",)))))


def _docstring_documents(file: LibraryFile) -> Iterator[Document]:
    for function in described_functions(file.read()):
        lines = function.code.count("\n") + 1
        if _within(len(function.docstring), DOCSTRING_CHARACTERS) and _within(lines, CODE_LINES):
            id_ = f"docstrings/{file.key}:{function.qualname}"
            yield _document(id_, file, code_pair(function, u("seed", id_)))


def code_pair(function: Described, draw: float) -> Parts:
    """Question and answer made of a function; `draw` in [0, 1) picks form and wording."""
    forms, place = (WRITE, draw * 1.5) if draw < 2 / 3 else (EXPLAIN, draw * 3 - 2)
    words = {"kind": "method" if function.is_method else "function", "name": function.qualname}
    question = forms[int(place * len(forms))].format(
        signature=function.signature, docstring=function.docstring, code=function.code, **words
    )
    return Parts(question=question, answer=function.code if forms is WRITE else function.docstring)


def _doctest_documents(file: LibraryFile) -> Iterator[Document]:
    text = file.read()
    if ">>> " not in text:
        return
    for function in described_functions(text):
        for number, (prose, examples) in enumerate(example_runs(function.docstring)):
            id_ = f"doctests/{file.key}:{function.qualname}#{number}"
            parts = example_pair(function, prose, examples, u("seed", id_))
            if len(parts.question) + len(parts.answer) >= EXAMPLE_CHARACTERS_MIN and parts.answer.strip():
                yield _document(id_, file, parts)


def example_runs(docstring: str) -> list[tuple[str, list[doctest.Example]]]:
    """Each run of examples with nothing but white space between, and the prose before it."""
    try:
        pieces = doctest.DocTestParser().parse(docstring)
    except ValueError:
        return []
    runs: list[tuple[str, list[doctest.Example]]] = []
    prose, examples = "", list[doctest.Example]()
    for piece in pieces:
        if isinstance(piece, doctest.Example):
            examples.append(piece)
        elif piece.strip():
            if examples:
                runs.append((prose, examples))
            prose, examples = piece.strip(), []
    return [*runs, (prose, examples)] if examples else runs


def example_pair(function: Described, prose: str, examples: list[doctest.Example], draw: float) -> Parts:
    """Question and answer made of a run of examples; `draw` in [0, 1) picks form and wording."""
    if draw < 0.4 and any(example.want for example in examples):
        code = "\n".join(_prompted(example) for example in examples)
        question = PRINT[int(draw / 0.4 * len(PRINT))].format(code=code, name=function.qualname)
        return Parts(question=question, answer="\n".join(example.want.rstrip() for example in examples if example.want))
    summary = prose if len(prose) > 40 else function.docstring.split("\n\n", 1)[0]
    answer = "\n".join(f"{_prompted(example)}\n{example.want}".rstrip() for example in examples)
    wording = SHOW[int(draw * len(SHOW))]
    return Parts(question=wording.format(summary=summary, name=function.qualname), answer=answer)


def _prompted(example: doctest.Example) -> str:
    first, *rest = example.source.rstrip("\n").split("\n")
    return "\n".join([f">>> {first}", *(f"... {line}" for line in rest)])


def _document(id_: str, file: LibraryFile, parts: Parts) -> Document:
    return Document(id=id_, source=id_.split("/", 1)[0], parts=parts, meta={"file": file.name, "of": file.owner})


def _within(value: int, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= value <= bounds[1]
