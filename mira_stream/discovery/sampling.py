"""Which documents of a group are judged free-form: stratified by source and length, in bounded memory. Pure.

Chance is a hash of a document's content: equal copies have equal chances and count once, the order of reading changes
nothing, and a larger sample of a source's stratum contains a smaller one.
"""

import heapq
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final, TypeVar

from mira_stream.chance import u

STRATA: Final = (("short", 1_000), ("medium", 4_000), ("long", 16_000), ("longest", None))
"""Length strata: names, and the characters of the rendered text below which a document is in it."""

Cell = tuple[str, str]
"""(source, stratum)."""
K = TypeVar("K", bound=Cell | str)


def stratum_of(text: str) -> str:
    """The length stratum of a rendered text."""
    return next(name for name, below in STRATA if below is None or len(text) < below)


def digest_of(text: str) -> str:
    """sha256 of a rendered text."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Sampler:
    """Sees every document of a group once, keeps the `documents` of smallest chance of each source and stratum."""

    def __init__(self, documents: int, seed: int) -> None:
        self.seen: dict[Cell, int] = {}
        self._documents = documents
        self._seed = seed
        self._kept: dict[Cell, list[tuple[float, str]]] = {}
        self._digests: dict[Cell, set[str]] = {}

    def add(self, source: str, text: str) -> None:
        """One document, rendered. A copy of one of its source that is kept changes nothing but the count."""
        cell = (source, stratum_of(text))
        self.seen[cell] = self.seen.get(cell, 0) + 1
        digest = digest_of(text)
        kept = self._kept.setdefault(cell, [])
        chance = u("seed", f"{self._seed}:{digest}")
        digests = self._digests.setdefault(cell, set())
        full = len(kept) == self._documents
        if digest in digests or (full and chance >= -kept[0][0]):
            return
        digests.add(digest)
        if full:
            digests.discard(heapq.heapreplace(kept, (-chance, digest))[1])
        else:
            heapq.heappush(kept, (-chance, digest))

    def chosen(self) -> dict[Cell, list[str]]:
        """Digests of the sample: sources alike, a source's strata as its documents are spread over them.

        What a source or a stratum does not have goes to the others.
        """
        kept = {cell: [digest for _, digest in sorted(found, reverse=True)] for cell, found in self._kept.items()}
        room: dict[str, int] = {}
        for (source, _), digests in kept.items():
            room[source] = room.get(source, 0) + len(digests)
        of_source = shares(self._documents, dict.fromkeys(room, 1), room)
        chosen: dict[Cell, list[str]] = {}
        for source, count in sorted(of_source.items()):
            cells = [cell for cell in sorted(kept) if cell[0] == source]
            of_cell = shares(
                count, {cell: self.seen[cell] for cell in cells}, {cell: len(kept[cell]) for cell in cells}
            )
            chosen |= {cell: kept[cell][: of_cell[cell]] for cell in cells}
        return chosen


def shares(total: int, weights: Mapping[K, int], room: Mapping[K, int]) -> dict[K, int]:
    """Divide `total` by weight, none above its room: largest remainders, ties in the order of the keys."""
    given = dict.fromkeys(sorted(weights), 0)
    while True:
        left = min(total, sum(room[key] for key in given)) - sum(given.values())
        open_keys = [key for key in given if given[key] < room[key] and weights[key] > 0]
        if left <= 0 or not open_keys:
            return given
        whole = sum(weights[key] for key in open_keys)
        wanted = {key: left * weights[key] / whole for key in open_keys}
        moved = {key: min(int(wanted[key]), room[key] - given[key]) for key in open_keys}
        if not any(moved.values()):
            order = sorted(open_keys, key=lambda key: (-(wanted[key] % 1), key))
            moved = dict.fromkeys(order[:left], 1)
        for key, count in moved.items():
            given[key] += count


def strata_counts(cells: Iterable[Cell]) -> dict[str, dict[str, int]]:
    """How many documents by source and stratum, strata from short to long."""
    counts: dict[str, dict[str, int]] = {}
    for source, stratum in cells:
        mine = counts.setdefault(source, {})
        mine[stratum] = mine.get(stratum, 0) + 1
    return {
        source: {name: counts[source][name] for name, _ in STRATA if name in counts[source]}
        for source in sorted(counts)
    }
