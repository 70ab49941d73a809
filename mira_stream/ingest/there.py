"""Which documents of a source are in the stream, so that those that are gone can be produced again. Pure."""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

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


named: Final = msgspec.json.Decoder(Named).decode
"""Of a record of any of the three topics. Raises msgspec.DecodeError."""


class There:
    """Documents of some sources that have an outcome, or wait for one: about 100 bytes each.

    A document is known by its id. One that had none of its own was given one with its file's etag in it, which is
    another when the file has grown: it is known by its place, and by the etags under which that was read.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self._etags: dict[str, dict[bytes, tuple[str, ...]]] = {source: {} for source in sources}

    def add(self, found: Named) -> None:
        """Others than those of the sources, and what names no document, are passed over."""
        etags = self._etags.get(found.source or "")
        if found.id is not None and etags is not None:
            key, etag = key_of(found)
            if etag not in (known := etags.get(key, ())):
                etags[key] = (*known, etag)

    def etags(self, source: str, key: bytes) -> tuple[str, ...]:
        """Under which the document was read; the empty one, if it has an id of its own; none if it is not there."""
        return self._etags[source].get(key, ())


class Missing:
    """Says of each row of one source whether it is to be produced: a document that is not there, each once."""

    def __init__(self, there: There, source: str, was_file: WasFile) -> None:
        self.left = 0
        """Documents that were read and are there."""
        self._there = there
        self._source = source
        self._was_file = was_file
        self._was: dict[tuple[str, str], bool] = {}
        self._taken: set[bytes] = set()

    def takes(self, reading: Reading) -> bool:
        """A row that is no document is taken: it becomes a dead letter."""
        if reading.rejected:
            return True
        found = named(reading.value)
        key, etag = key_of(found)
        if (
            key in self._taken
            or self._is_there(found, key)
            or (etag and self._is_there(found, hash_of(found.id or "")))
        ):
            self.left += 1
            return False
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


def key_of(found: Named) -> tuple[bytes, str]:
    """What a document is known by, hashed: its id, and no etag; or its place and the etag of its file. What has a made
    id and no ref (a dead letter of an earlier version) is known by that id alone."""
    given, etag, ref = found.id or "", "", found.ref
    if ref is not None and given == id_of(found.source or "", ref):
        given, etag = f"\n{ref.row}\n{ref.byte}\n{ref.uri}", ref.etag
    return hash_of(given), etag


def hash_of(given: str) -> bytes:
    return blake2b(given.encode("utf-8", "surrogatepass"), digest_size=16).digest()
