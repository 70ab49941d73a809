"""Source group `text`: modules of the standard library; documentation of installed distributions."""

import ast
import math
import re
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Final

from mira_stream.chance import u
from mira_stream.demo.corpus_files import (
    LibraryFile,
    alternating,
    distribution_files,
    distributions,
    interpreter,
    mixed,
    spread,
    stdlib_files,
)
from mira_stream.demo.corpus_source import parsed
from mira_stream.messages import Document

LINES_MIN: Final = 8
LINES_MAX: Final = 90
CHARACTERS_MIN: Final = 200
CHARACTERS_MAX: Final = 4000
REFERENCE_CHARACTERS_MIN: Final = 500
"""Docstrings of modules and classes at least this long are reference pages."""
NO_PAGES: Final = re.compile(
    r"licen[cs]e|copying|notice|authors|/legal/|top_level|entry_points|requires", re.IGNORECASE
)
HEADING: Final = re.compile(r"^(#{1,6} |[^\n]+\n([=\-~^\"*+#])\2{3,}\s*$)", re.MULTILINE)
TOP_LEVEL: Final = re.compile(r"^[^\s)\]}]")


def stdlib(wanted: Callable[[str], bool]) -> Iterator[Document]:
    """Pieces of modules, cut between top-level definitions; short modules whole. Ids `stdlib/json/decoder.py#2`."""
    return spread(mixed(stdlib_files()), _module_documents, wanted)


def distdocs(wanted: Callable[[str], bool]) -> Iterator[Document]:
    """Sections of long descriptions, README and other documentation files, reference docstrings."""
    return alternating(
        spread(mixed(_descriptions()), _description_documents, wanted),
        spread(mixed(distribution_files((".md", ".rst", ".txt"))), _page_documents, wanted),
        spread(mixed(distribution_files((".py",))), _reference_documents, wanted),
    )


def module_chunks(name: str, text: str) -> list[str]:
    """Cut a module's text at top-level borders into chunks of very different lengths, drawn by name."""
    lines = text.splitlines(keepends=True)
    chunks: list[str] = []
    start = 0
    while start < len(lines):
        wish = start + _draw(f"{name}#{len(chunks)}", LINES_MIN, LINES_MAX)
        end = len(lines) if len(lines) - wish < LINES_MIN else _border(lines, wish, min(wish * 2 - start, len(lines)))
        chunks.append("".join(lines[start:end]))
        start = end
    return chunks


def sections(name: str, text: str) -> list[str]:
    """Cut a page before headings into pieces of very different lengths; long sections at empty lines."""
    borders = [0, *(match.start() for match in HEADING.finditer(text)), len(text)]
    pieces: list[str] = []
    piece = ""
    for first, last in pairwise(borders):
        for paragraph in re.split(r"(?<=\n)(?=\n)", text[first:last]):
            wish = _draw(f"{name}#{len(pieces)}", CHARACTERS_MIN, CHARACTERS_MAX)
            if len(piece) + len(paragraph) > wish and len(piece) >= CHARACTERS_MIN:
                pieces.append(piece)
                piece = ""
            piece += paragraph[:CHARACTERS_MAX]
    if len(piece) >= CHARACTERS_MIN or not pieces:
        return [*pieces, piece]
    return [*pieces[:-1], pieces[-1] + piece]


def _draw(name: str, low: int, high: int) -> int:
    """A length between low and high, uniform on a log scale, always the same for a name."""
    return round(low * math.pow(high / low, u("seed", name)))


def _border(lines: list[str], wish: int, latest: int) -> int:
    """The first line from `wish` on that opens a top-level statement after an empty line; else `latest`."""
    for number in range(wish, latest):
        if TOP_LEVEL.match(lines[number]) and not lines[number - 1].strip():
            return number
    return latest


def _module_documents(file: LibraryFile) -> list[Document]:
    return _numbered("stdlib", file.key, module_chunks(file.key, file.read()), {"file": file.name, "of": interpreter()})


def _descriptions() -> Iterator[LibraryFile]:
    for owner, distribution in distributions():
        yield LibraryFile(owner, "METADATA", Path(str(distribution.locate_file("METADATA"))))


def _description_documents(file: LibraryFile) -> list[Document]:
    stated = (metadata.distribution(file.owner).read_text("METADATA") or "").replace("\r\n", "\n")
    return _pages(file, stated.partition("\n\n")[2])


def _page_documents(file: LibraryFile) -> list[Document]:
    return [] if NO_PAGES.search(file.name) else _pages(file, file.read())


def _reference_documents(file: LibraryFile) -> Iterable[Document]:
    documents = []
    for name, docstring in _long_docstrings(file):
        page = LibraryFile(file.owner, f"{file.name}:{name}", file.path)
        documents += _pages(page, f"{name}\n{'=' * len(name)}\n\n{docstring}\n")
    return documents


def _long_docstrings(file: LibraryFile) -> Iterator[tuple[str, str]]:
    tree = parsed(file.read())
    if tree is None:
        return
    classes = [(node.name, ast.get_docstring(node)) for node in tree.body if isinstance(node, ast.ClassDef)]
    for name, docstring in ((file.name, ast.get_docstring(tree)), *classes):
        if docstring and len(docstring) >= REFERENCE_CHARACTERS_MIN:
            yield name, docstring


def _pages(file: LibraryFile, text: str) -> list[Document]:
    return _numbered(
        "distdocs", f"distdocs/{file.key}", sections(file.key, text), {"file": file.name, "of": file.owner}
    )


def _numbered(source: str, key: str, texts: Iterable[str], meta: dict[str, str]) -> list[Document]:
    return [
        Document(id=f"{key}#{number}", source=source, text=text.strip("\n") + "\n", meta=meta)
        for number, text in enumerate(texts)
        if len(text.strip()) >= CHARACTERS_MIN
    ]
