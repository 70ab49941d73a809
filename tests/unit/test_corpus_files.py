"""Files of this machine in an order that is the same everywhere, and their documents in turns."""

from itertools import islice
from pathlib import Path

from mira_stream.demo.corpus_files import (
    BYTES_MAX,
    LibraryFile,
    alternating,
    distinct,
    mixed,
    spread,
    stdlib_files,
)
from mira_stream.messages import Document


def a_file(owner: str, number: int) -> LibraryFile:
    return LibraryFile(owner, f"part{number}.py", Path("nowhere"))


def documents_of(file: LibraryFile) -> list[Document]:
    count = 20 if file.owner == "long" else 2
    return [Document(id=f"{file.key}#{i}", source="s", text=f"{file.key} {i}") for i in range(count)]


def any_id(_: str) -> bool:
    return True


def test_owners_take_turns_and_order_of_listing_is_of_no_matter() -> None:
    files = [a_file("many", i) for i in range(30)] + [a_file("few", 0), a_file("some", 0), a_file("some", 1)]
    ordered = mixed(files)
    assert ordered == mixed(reversed(files))
    assert {file.owner for file in ordered[:3]} == {"many", "few", "some"}
    assert {file.owner for file in ordered[5:]} == {"many"}
    assert sorted(ordered) == sorted(files)


def test_spread_gives_every_wanted_document_once() -> None:
    files = [a_file("long", 0), a_file("short", 0), a_file("long", 1)]
    wanted = {document.id for file in files for document in documents_of(file) if document.id.endswith(("3", "1", "7"))}
    found = [document.id for document in spread(files, documents_of, wanted.__contains__)]
    assert sorted(found) == sorted(wanted)


def test_spread_takes_a_few_of_every_file_before_more_of_one() -> None:
    files = [a_file("long", i) for i in range(4)]
    first = [document.id.split("#")[0] for document in islice(spread(files, documents_of, any_id), 12)]
    assert {name: first.count(name) for name in first} == {file.key: 3 for file in files}


def test_spread_opens_no_file_before_its_turn() -> None:
    opened = []

    def noting(file: LibraryFile) -> list[Document]:
        opened.append(file)
        return documents_of(file)

    files = [a_file("long", i) for i in range(50)]
    assert len(list(islice(spread(files, noting, any_id), 6))) == 6
    assert len(opened) <= 3


def test_the_same_content_under_another_id_is_passed_over() -> None:
    documents = [Document(id=str(i), source="s", text=f"text {i % 3}") for i in range(7)]
    assert [document.id for document in distinct(documents)] == ["0", "1", "2"]


def test_streams_alternate_until_the_last_has_ended() -> None:
    one, two = ([Document(id=f"{name}{i}", source="s", text="t") for i in range(n)] for name, n in (("a", 1), ("b", 3)))
    assert [document.id for document in alternating(iter(one), iter(two))] == ["a0", "b0", "b1", "b2"]


def test_a_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    broken, giant = tmp_path / "broken.py", tmp_path / "giant.py"
    broken.write_bytes(b"x = '\xff\xfe'\n")
    giant.write_bytes(b"#" * (BYTES_MAX + 1))
    for path in (broken, giant, tmp_path / "missing.py"):
        assert LibraryFile("owner", path.name, path).read() == ""


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "marked.py"
    path.write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert LibraryFile("owner", path.name, path).read() == "x = 1\n"


def test_the_standard_library_without_tests_and_installed_packages() -> None:
    names = {file.name for file in stdlib_files()}
    assert {"json/decoder.py", "argparse.py"} <= names
    assert not [name for name in names if {"site-packages", "test", "tests"} & set(name.split("/"))]
