"""Files that every Python installation has, in an order that spreads well and is the same on every machine."""

import os
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from mira_stream.chance import u
from mira_stream.messages import Document

BYTES_MAX: Final = 400_000
"""Larger files are not opened."""
PER_FILE: Final = 3
"""Documents taken from one file before the next file's turn; doubles every round."""
OURSELVES: Final = "mira-stream"
SKIPPED_FOLDERS: Final = frozenset(
    {"test", "tests", "testing", "idle_test", "_vendor", "vendor", "site-packages", "dist-packages", "__pycache__"}
)


class LibraryFile(NamedTuple):
    """A file of the standard library (`owner` is `stdlib`) or of an installed distribution."""

    owner: str
    name: str
    path: Path

    @property
    def key(self) -> str:
        return f"{self.owner}/{self.name}"

    def read(self) -> str:
        """The text, or an empty one where the file is missing, too large or not UTF-8."""
        try:
            if self.path.stat().st_size > BYTES_MAX:
                return ""
            return self.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return ""


def stdlib_files() -> list[LibraryFile]:
    """The running interpreter's own modules, without their tests (many installations lack them)."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS]
        paths += (Path(folder, name) for name in names if name.endswith(".py"))
    return [LibraryFile("stdlib", path.relative_to(root).as_posix(), path) for path in paths]


def distributions() -> Iterator[tuple[str, metadata.Distribution]]:
    """Installed distributions by name, without this one and without broken ones that have no name."""
    for distribution in metadata.distributions():
        owner: str | None = distribution.metadata["Name"]
        if owner and owner.lower().replace("_", "-") != OURSELVES:
            yield owner, distribution


def distribution_files(suffixes: tuple[str, ...]) -> Iterator[LibraryFile]:
    """Files of installed distributions that end so, as their RECORD lists them."""
    for owner, distribution in distributions():
        for line in (distribution.read_text("RECORD") or "").splitlines():
            name = line.rsplit(",", 2)[0].strip('"')
            if name.endswith(suffixes) and ".." not in name and SKIPPED_FOLDERS.isdisjoint(name.split("/")):
                yield LibraryFile(owner, name, Path(str(distribution.locate_file(name))))


def mixed(files: Iterable[LibraryFile]) -> list[LibraryFile]:
    """Every owner's first file, then every owner's second, ...; chance within (by name, so always the same)."""
    by_owner = defaultdict(list)
    for file in files:
        by_owner[file.owner].append((u("seed", file.key), file))
    ranked = [
        (rank, draw, file)
        for owned in by_owner.values()
        for rank, (draw, file) in enumerate(sorted(owned, key=lambda pair: pair[0]))
    ]
    return [file for _, _, file in sorted(ranked, key=lambda entry: entry[:2])]


def spread(
    files: Iterable[LibraryFile],
    documents_of: Callable[[LibraryFile], Iterable[Document]],
    wanted: Callable[[str], bool],
) -> Iterator[Document]:
    """The wanted documents (by id) of all files: a few of each file, then more of each, until there are no more.

    Reads no more files than the caller takes documents for.
    """
    waiting, taken = list(files), 0
    room = PER_FILE
    while waiting:
        longer = []
        for file in waiting:
            found = [document for document in documents_of(file) if wanted(document.id)]
            found.sort(key=lambda document: u("seed", document.id))
            if len(found) > taken + room:
                longer.append(file)
            yield from found[taken : taken + room]
        waiting, taken, room = longer, taken + room, room * 2


def alternating(*streams: Iterator[Document]) -> Iterator[Document]:
    """One document of each stream in turn, until all have ended."""
    waiting = list(streams)
    while waiting:
        for stream in list(waiting):
            document = next(stream, None)
            if document is None:
                waiting.remove(stream)
            else:
                yield document


def distinct(documents: Iterable[Document]) -> Iterator[Document]:
    """Without those whose content was seen before."""
    seen = set[bytes]()
    for document in documents:
        mark = fingerprint(document)
        if mark not in seen:
            seen.add(mark)
            yield document


def fingerprint(document: Document) -> bytes:
    """A hash of the content alone."""
    content = msgspec.json.encode((document.text, document.messages, document.parts))
    return blake2b(content, digest_size=12).digest()


def interpreter() -> str:
    """`python 3.11`, for a document's meta."""
    return f"python {sys.version_info.major}.{sys.version_info.minor}"
