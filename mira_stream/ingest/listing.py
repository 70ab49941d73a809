"""What lies in a watched folder now: its data files, each with what tells that it has changed."""

import os
from pathlib import Path
from typing import Final, NamedTuple

from mira_stream.errors import ConfigError
from mira_stream.ingest.files import CorpusFile, data_format, unreadable, uri_of

UNFINISHED: Final = (".tmp", ".part", ".partial", "~")
"""How the names of files and folders end that somebody still writes. With hidden ones (`.x`) and Hadoop's `_temporary`
they are passed over."""
PIECE_BYTES: Final = 2**20


class Stamp(NamedTuple):
    size: int
    mtime_ns: int
    inode: int


class Seen(NamedTuple):
    """A file and its stamp when the folder was listed."""

    file: CorpusFile
    stamp: Stamp


def list_folder(folder: Path) -> tuple[Seen, ...]:
    """All data files under a folder, sorted. Raises ConfigError if the folder, or one in it, cannot be listed.

    Linked folders are not entered. Uris are those of `find_corpus`, so that both go by the same positions.
    """
    above = folder.absolute().parent
    found = []
    for root, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if _finished(name))
        for name in sorted(names):
            kind = data_format(name) if _finished(name) else None
            path = Path(root, name)
            if kind is not None and (stamp := _stamp(path)) is not None:
                found.append(Seen(CorpusFile(path, uri_of(path, above), kind), stamp))
    return tuple(found)


def whole_lines(path: Path, size: int, floor: int) -> int:
    """Where the last whole line among the first `size` bytes ends; `floor` if none ends behind that byte.

    Raises ConfigError if the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            while size > floor:
                first = max(floor, size - PIECE_BYTES)
                stream.seek(first)
                place = stream.read(size - first).rfind(b"\n")
                if place >= 0:
                    return first + place + 1
                size = first
    except OSError as error:
        raise unreadable(path, error) from None
    return floor


def _finished(name: str) -> bool:
    return not name.startswith(".") and name != "_temporary" and not name.lower().endswith(UNFINISHED)


def _stamp(path: Path) -> Stamp | None:
    """None for what is no file, or was deleted since its folder was listed."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino) if path.is_file() else None


def _refuse(error: OSError) -> None:
    path = Path(error.filename or ".")
    if isinstance(error, FileNotFoundError):
        raise ConfigError("source_missing", f"{path} does not exist", "correct the folder, or mount it") from None
    raise unreadable(path, error) from None
