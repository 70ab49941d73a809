"""Finds the files of a corpus and says which format each has."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import quote_from_bytes

from mira_stream.errors import ConfigError

Format = Literal["jsonl", "jsonl.gz", "jsonl.zst", "parquet", "text"]

DATA_SUFFIXES: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl.gz",
    ".ndjson.gz": "jsonl.gz",
    ".jsonl.zst": "jsonl.zst",
    ".ndjson.zst": "jsonl.zst",
    ".parquet": "parquet",
}
TEXT_SUFFIXES: Final = (".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".html", ".py", ".c", ".h", ".rs", ".go")
ETAG_BYTES: Final = 64 * 1024


class CorpusFile(NamedTuple):
    """One file of a corpus. `uri` is percent-encoded and relative to the folder that holds the corpus, so that
    the same corpus has the same ids on every machine. `end`: a plain JSON Lines file that grows is read up to this
    byte, where a line ends; None: to the file's end."""

    path: Path
    uri: str
    format: Format
    end: int | None = None


class Corpus(NamedTuple):
    """`root` is the uri of the file or folder that was named; `left_out` counts files beside data files."""

    root: str
    files: tuple[CorpusFile, ...]
    left_out: int


def find_corpus(path: Path) -> Corpus:
    """The data files under `path`; a folder without data files is one of text files, one document a file.

    Hidden files and folders are passed over, linked folders are not entered. Raises ConfigError if there is
    nothing, or nothing known, to read.
    """
    try:
        if path.is_dir():
            return _folder(path)
        path.stat()
    except FileNotFoundError:
        raise ConfigError("source_missing", f"{path} does not exist", "correct the source's path") from None
    except OSError as error:
        raise unreadable(path, error) from None
    format_ = data_format(path.name) or ("text" if path.name.lower().endswith(TEXT_SUFFIXES) else None)
    if format_ is None:
        known = ", ".join([*DATA_SUFFIXES, *TEXT_SUFFIXES])
        raise ConfigError(
            "format_unknown", f"{path}: the name's end tells no format", f"rename or convert it to one of {known}"
        )
    uri = uri_of(path, path.absolute().parent)
    return Corpus(uri, (CorpusFile(path, uri, format_),), 0)


def data_format(name: str) -> Format | None:
    lowered = name.lower()
    return next((kind for suffix, kind in DATA_SUFFIXES.items() if lowered.endswith(suffix)), None)


def etag_of(path: Path, size: int | None = None) -> str:
    """Which version of a file this is: its size and a hash of its first and last 64 KiB.

    With `size`, the etag the file had when it ended there: shows whether a file has only grown. Raises ConfigError.
    """
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size if size is None else size
            digest = sha256(file.read(min(length, ETAG_BYTES)))
            if length > ETAG_BYTES:
                file.seek(max(ETAG_BYTES, length - ETAG_BYTES))
                digest.update(file.read(length - file.tell()))
    except OSError as error:
        raise unreadable(path, error) from None
    return f"{length}-{digest.hexdigest()[:16]}"


def etag_size(etag: str) -> int | None:
    """The file's size that an etag names; None if it is no etag of ours."""
    size = etag.partition("-")[0]
    return int(size) if size.isdecimal() else None


def unreadable(path: Path, error: OSError) -> ConfigError:
    cause = error.strerror or str(error)
    return ConfigError("source_unreadable", f"{path}: {cause}", "let this user read it, or correct the path")


def _folder(path: Path) -> Corpus:
    found = list(_walk(path))
    data = [(file, kind) for file in found if (kind := data_format(file.name)) is not None]
    chosen: list[tuple[Path, Format]] = data or [(file, "text") for file in found]
    if not chosen:
        raise ConfigError("source_empty", f"{path} holds no file", "correct the source's path")
    above = path.absolute().parent
    files = tuple(CorpusFile(file, uri_of(file, above), kind) for file, kind in chosen)
    return Corpus(uri_of(path, above), files, len(found) - len(files))


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise unreadable(Path(error.filename or folder), error)

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path


def uri_of(path: Path, above: Path) -> str:
    """A path's uri, relative to the folder `above`."""
    return quote_from_bytes(os.fsencode(path.absolute().relative_to(above).as_posix()), safe="/")
