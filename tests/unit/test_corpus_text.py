"""How modules and pages are cut into documents."""

import re
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from mira_stream.demo import corpus_text
from mira_stream.demo.corpus_text import CHARACTERS_MAX, CHARACTERS_MIN, LINES_MAX, LINES_MIN, module_chunks, sections

DEFINITION = "def name(argument):\n    first = argument\n    second = argument + 1\n\n    return first, second\n\n\n"
PARAGRAPH = "Some words about a matter that fill a line of a page and go on for a while.\n" * 3 + "\n"

lines = st.lists(st.sampled_from(["x = 1\n", "    y = 2\n", "\n", "def f():\n", ")\n", "# é\n"]), max_size=150)


@given(lines)
def test_chunks_lose_nothing(text: list[str]) -> None:
    assert "".join(module_chunks("m.py", "".join(text))) == "".join(text)


@given(st.lists(st.sampled_from(["# Heading\n", "Title\n=====\n", PARAGRAPH, "- point\n", "\n"]), max_size=60))
def test_sections_lose_nothing(text: list[str]) -> None:
    assert "".join(sections("p.md", "".join(text))) == "".join(text)


def test_chunks_end_between_definitions_and_vary_in_length() -> None:
    chunks = module_chunks("stdlib/a.py", DEFINITION * 150)
    assert all(chunk.startswith("def name") for chunk in chunks)
    lengths = [chunk.count("\n") for chunk in chunks]
    assert min(lengths) >= LINES_MIN
    assert max(lengths) <= 2 * LINES_MAX
    assert max(lengths) > 4 * min(lengths)


def test_a_table_without_borders_is_cut_all_the_same() -> None:
    chunks = module_chunks("stdlib/table.py", "TABLE = {\n" + "    1: 2,\n" * 1000 + "}\n")
    assert max(chunk.count("\n") for chunk in chunks) <= 2 * LINES_MAX


def test_cutting_hangs_on_name_and_text_alone() -> None:
    assert module_chunks("stdlib/a.py", DEFINITION * 50) == module_chunks("stdlib/a.py", DEFINITION * 50)
    assert module_chunks("stdlib/a.py", DEFINITION * 50) != module_chunks("stdlib/b.py", DEFINITION * 50)


def test_sections_have_bounds() -> None:
    text = "".join(f"## Heading {i}\n\n{PARAGRAPH * (i % 7)}" for i in range(60))
    pieces = sections("dist/README.md", text)
    assert len(pieces) > 10
    assert all(CHARACTERS_MIN <= len(piece) <= 2 * CHARACTERS_MAX for piece in pieces)


def test_documents_of_the_standard_library() -> None:
    found = list(islice(corpus_text.stdlib(lambda _: True), 60))
    assert len({document.id for document in found}) == 60
    assert all(re.fullmatch(r"stdlib/[\w/.-]+\.py#\d+", document.id) for document in found)
    assert all(document.source == "stdlib" and len(document.text or "") >= CHARACTERS_MIN for document in found)
    assert len({document.meta["file"] for document in found}) >= 20
    assert [document.id for document in islice(corpus_text.stdlib(lambda _: True), 60)] == [d.id for d in found]


def test_documents_of_installed_distributions() -> None:
    found = list(islice(corpus_text.distdocs(lambda _: True), 60))
    assert {document.source for document in found} == {"distdocs"}
    assert len({document.meta["of"] for document in found}) >= 20
    assert any("/METADATA#" in document.id for document in found)
    assert not [document.id for document in found if "licen" in document.id.lower()]


def test_only_wanted_documents_come() -> None:
    found = list(islice(corpus_text.stdlib(lambda document_id: document_id.endswith("#1")), 20))
    assert len(found) == 20
    assert all(document.id.endswith("#1") for document in found)
