"""Which documents of a source are in the stream, so that those that are gone can be produced again. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mira_stream.errors import UsageError
from mira_stream.ingest.content import id_of
from mira_stream.ingest.reading import Reading
from mira_stream.messages import Ref

WasFile = Callable[[str, str], bool]
"""Whether the file of a uri, or its beginning, had this etag."""


class Named(Struct, frozen=True, kw_only=True):
    """What documents, score cards and dead letters have in common: which document it is, or is about."""

    id: str | None = None
    source: str | None = None
    ref: Ref | None = None
    stage: str | None = None
    sha256: str = ""


named: Final = msgspec.json.Decoder(Named).decode
"""Of a record of any of the three topics. Raises msgspec.DecodeError."""


class There:
    """Documents of some sources that have an outcome, or wait for one: about 100 bytes each.

    A document is known by its id. One that had none of its own was given one with its file's etag in it, which is
    another when the file has grown: it is known by its place, and by the etags under which that was read. A row that is
    no document is known by its bytes, which its dead letter has hashed.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self._etags: dict[str, dict[bytes, tuple[str, ...]]] = {source: {} for source in sources}
        self._letters: dict[str, Counter[bytes]] = {source: Counter() for source in self._etags}

    def add(self, found: Named) -> None:
        """Others than those of the sources, and what names no document, are passed over."""
        source = found.source or ""
        etags = self._etags.get(source)
        if etags is None:
            return
        if found.stage == "produce":
            self._letters[source][hash_of(found.sha256)] += 1
        if found.id is None and found.ref is not None:  # a letter of a row without a good id
            found = replace(found, id=id_of(source, found.ref))
        if found.id is not None:
            key, etag = key_of(found)
            if etag not in (known := etags.get(key, ())):
                etags[key] = (*known, etag)

    def letters(self, source: str, row: bytes) -> int:
        """How many rows of these bytes, hashed, have a dead letter."""
        return self._letters[source][row]

    def etags(self, source: str, key: bytes) -> tuple[str, ...]:
        """Under which the document was read; the empty one, if it has an id of its own; none if it is not there."""
        return self._etags[source].get(key, ())


class Missing:
    """Says of each row of one source whether it is to be produced: a document that is not there, each once."""

    def __init__(self, there: There, source: str, was_file: WasFile) -> None:
        self.left = 0
        """Documents that were read and are there, and rejected rows that have a dead letter."""
        self._there = there
        self._source = source
        self._was_file = was_file
        self._was: dict[tuple[str, str], bool] = {}
        self.is_copy = False
        """None of the source's files that are read now was read before, and others were: without ids of their own rows
        are not to be told from those."""
        self._taken: set[bytes] = set()
        self._rejected: Counter[bytes] = Counter()

    def takes(self, reading: Reading) -> bool:
        """A row that is no document becomes a dead letter if it has none; of rows that are alike as many are taken as
        there are more of them than letters. So all rows are to be asked for, those read before too.

        Raises UsageError(copy_without_ids)."""
        found = named(reading.value)
        if reading.rejected:
            row = hash_of(found.sha256)
            self._rejected[row] += 1
            is_left = self._rejected[row] <= self._there.letters(self._source, row)
        else:
            is_left = not self._is_missing(found)
        self.left += is_left
        return not is_left

    def _is_missing(self, found: Named) -> bool:
        """Whether it is to be produced, which is said once."""
        key, etag = key_of(found)
        if key in self._taken or self._is_there(found, key):
            return False
        if etag:
            if self._is_there(found, hash_of(found.id or "")):
                return False
        elif found.ref is not None and self._is_there(found, key_of_place(found.ref)):
            return False  # its row had no good id before, and a dead letter says so
        if etag and self.is_copy:
            raise _copy_without_ids(found)
        self._taken.add(key)
        return True

    def _is_there(self, found: Named, key: bytes) -> bool:
        return any(self._is_of(found, etag) for etag in self._there.etags(self._source, key))

    def _is_of(self, found: Named, etag: str) -> bool:
        if not etag or found.ref is None:
            return True
        at = found.ref.uri, etag
        if at not in self._was:
            self._was[at] = self._was_file(*at)
        return self._was[at]


def _copy_without_ids(found: Named) -> UsageError:
    uri = "" if found.ref is None else found.ref.uri
    return UsageError(
        "copy_without_ids",
        f"{uri}: a row has no id of its own, and nothing of this file was read before, but other files of"
        f" {found.source} were: whether the row was produced from one of them, and scored, cannot be told",
        "put the file back under the name that it was read under, and run --missing on that; rows that were never"
        " produced are sent without --missing",
    )


def key_of(found: Named) -> tuple[bytes, str]:
    """What a document is known by, hashed: its id, and no etag; or its place and the etag of its file. What has a made
    id and no ref (a dead letter of an earlier version) is known by that id alone."""
    given, etag, ref = found.id or "", "", found.ref
    if ref is not None and given == id_of(found.source or "", ref):
        return key_of_place(ref), ref.etag
    return hash_of(given), etag


def key_of_place(ref: Ref) -> bytes:
    return hash_of(f"\n{ref.row}\n{ref.byte}\n{ref.uri}")


def hash_of(given: str) -> bytes:
    return blake2b(given.encode("utf-8", "surrogatepass"), digest_size=16).digest()
