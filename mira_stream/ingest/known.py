"""Which ids are in the log, and what was said under them: in bounded memory. And how much may be under way. Pure."""

from hashlib import blake2b
from typing import Literal

Verdict = Literal["new", "duplicate", "conflict"]


class Known:
    """The newest `ids_max` ids, each with its document's mark: about 200 bytes an id. An id that has fallen out is new
    again."""

    def __init__(self, ids_max: int) -> None:
        self.ids_max = ids_max
        self._marks: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._marks)

    def judge(self, id_: str, mark: bytes) -> Verdict:
        """duplicate: the same document is in the log; conflict: another one of this id is."""
        known = self._marks.get(_key(id_))
        if known is None:
            return "new"
        return "duplicate" if known == mark else "conflict"

    def add(self, id_: str, mark: bytes) -> None:
        key = _key(id_)
        self._marks.pop(key, None)  # to the end: it is the newest now
        self._marks[key] = mark
        if len(self._marks) > self.ids_max:
            del self._marks[next(iter(self._marks))]


class Room:
    """Bounds what was taken in and is not answered, in documents and in bytes of request bodies."""

    def __init__(self, documents_max: int, bytes_max: int) -> None:
        self.documents_max = documents_max
        self.bytes_max = bytes_max
        self.documents = 0
        self.bytes = 0

    def fits(self, bytes_: int) -> bool:
        return self.bytes + bytes_ <= self.bytes_max

    def take(self, documents: int = 0, bytes_: int = 0) -> bool:
        """False, and nothing is taken, if there is no room for it."""
        if self.documents + documents > self.documents_max or self.bytes + bytes_ > self.bytes_max:
            return False
        self.documents += documents
        self.bytes += bytes_
        return True

    def give(self, documents: int = 0, bytes_: int = 0) -> None:
        self.documents -= documents
        self.bytes -= bytes_


def _key(id_: str) -> bytes:
    return blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=16).digest()
