"""Exact weighted selection over more documents than fit into memory.

Documents are ranked by score, best first; equal scores by `u("tie", id)`, smallest first, as the stream splits ties;
equal both (one id twice) by position. A ranking is read in chunks, as often as needed: a cut is found by counting
weight on 16-bit digits of the 128-bit key (order, tie), first digit first, until the documents that share the digits
of the cut fit into memory; those are sorted. No sampling, no rounding: weights are whole numbers.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

HELD_DOCUMENTS: Final = 2**20
"""So many documents around a cut are sorted in memory."""
_DIGIT_BITS: Final = 16
_DIGITS: Final = 2**_DIGIT_BITS
_LEVELS: Final = 8
_SIGN: Final = np.uint64(2**63)

Orders = NDArray[np.uint64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Chunk(NamedTuple):
    """Some documents in a row; all arrays of one length. `order` and `tie` as `orders` and `ties` make them,
    `tokens` >= 0, `source` the source's code."""

    order: Orders
    tie: Orders
    tokens: Counts
    source: NDArray[np.int32]

    def at(self, rows: "slice | Counts") -> "Chunk":
        """These documents of it."""
        return Chunk(self.order[rows], self.tie[rows], self.tokens[rows], self.source[rows])


class Cut(NamedTuple):
    """The end of what is kept: all documents up to and including this (order, tie, position)."""

    order: int
    tie: int
    position: int

    @property
    def score(self) -> float:
        """The score at the cut: better ones are kept, worse ones are not."""
        return float(scores_of(np.array([self.order], dtype=np.uint64))[0])

    @property
    def tie_fraction(self) -> float:
        """Of the documents at `score`, those with `u("tie", id)` below this are kept."""
        if self == EVERYTHING:
            return 1.0
        last = float(np.array([self.tie], dtype=np.uint64).view(np.float64)[0])
        return last if self.position < 0 else float(np.nextafter(last, 2.0))


EVERYTHING: Final = Cut(2**64 - 1, 2**64 - 1, 2**63 - 1)


class Taken(NamedTuple):
    """Documents and tokens by source code."""

    documents: Counts
    tokens: Counts


class Ranking:
    """Documents of `sources` sources, read as chunks again and again, always the same. `by` is what weighs."""

    def __init__(self, chunks: Callable[[], Iterator[Chunk]], sources: int, held: int = HELD_DOCUMENTS) -> None:
        self._chunks = chunks
        self._held = held
        self.sources = sources
        self.available = self.taken(np.ones(sources, dtype=np.bool_), EVERYTHING)

    def cut(self, members: Flags, budget: int, *, reach: bool = False, documents: bool = False) -> Cut:
        """Where the best documents of the member sources (bool[sources]) fill `budget`: the longest run of the ranking
        that weighs at most the budget, with `reach` the shortest that weighs at least as much.

        Weight is in tokens, or in documents.
        """
        weights = self.available.documents if documents else self.available.tokens
        if int(weights[members].sum()) <= budget:
            return EVERYTHING
        prefix: list[int] = []
        before = 0
        near = int(self.available.documents[members].sum())
        while near > self._held and len(prefix) < _LEVELS:
            weight, count = self._digits(members, prefix, documents)
            sums = before + np.cumsum(weight)
            at = int(np.searchsorted(sums, budget, side="left" if reach else "right"))
            before = int(sums[at - 1]) if at else before
            near = int(count[at])
            prefix.append(at)
        return self._sorted_cut(members, prefix, before, budget, reach, documents)

    def taken(self, members: Flags, cut: Cut) -> Taken:
        """What the member sources have up to the cut."""
        found = Taken(np.zeros(self.sources, dtype=np.int64), np.zeros(self.sources, dtype=np.int64))
        start = 0
        for chunk in self._chunks():
            kept = members[chunk.source] & up_to(chunk, start, cut)
            start += len(kept)
            found.documents[:] += np.bincount(chunk.source[kept], minlength=self.sources)
            np.add.at(found.tokens, chunk.source[kept], chunk.tokens[kept])
        return found

    def kept(self, cuts: "list[Cut | None]") -> Iterator[Flags]:
        """Chunk by chunk, which documents lie up to the cut of their source; None keeps nothing of it."""
        start = 0
        for chunk in self._chunks():
            flags = np.zeros(len(chunk.source), dtype=np.bool_)
            for code in np.unique(chunk.source).tolist():
                cut = cuts[code]
                if cut is not None:
                    flags |= (chunk.source == code) & up_to(chunk, start, cut)
            start += len(flags)
            yield flags

    def _digits(self, members: Flags, prefix: list[int], documents: bool) -> tuple[Counts, Counts]:
        """Weight and documents by the next digit, of the members that have the digits before it."""
        weight = np.zeros(_DIGITS, dtype=np.int64)
        count = np.zeros(_DIGITS, dtype=np.int64)
        for _, chunk in self._near(members, prefix):
            digit = _digit(chunk, len(prefix))
            counted = np.bincount(digit, minlength=_DIGITS)
            count += counted
            if documents:
                weight += counted
            else:
                np.add.at(weight, digit, chunk.tokens)
        return weight, count

    def _near(self, members: Flags, prefix: list[int]) -> Iterator[tuple[Counts, Chunk]]:
        """Positions and documents of the members that have these digits."""
        start = 0
        for chunk in self._chunks():
            near = members[chunk.source]
            for level, digit in enumerate(prefix):
                near &= _digit(chunk, level) == digit
            positions = np.flatnonzero(near)
            yield positions + start, chunk.at(positions)
            start += len(near)

    def _sorted_cut(
        self, members: Flags, prefix: list[int], before: int, budget: int, reach: bool, documents: bool
    ) -> Cut:
        parts = list(self._near(members, prefix))
        position = np.concatenate([positions for positions, _ in parts])
        order = np.concatenate([chunk.order for _, chunk in parts])
        tie = np.concatenate([chunk.tie for _, chunk in parts])
        weight = np.concatenate([chunk.tokens for _, chunk in parts])
        ranked = np.lexsort((position, tie, order))
        sums = before + np.cumsum(np.ones_like(weight) if documents else weight[ranked])
        last = int(np.searchsorted(sums, budget, side="left" if reach else "right")) - (0 if reach else 1)
        if last < 0:
            first = ranked[0]
            return Cut(int(order[first]), int(tie[first]), -1)
        return Cut(int(order[ranked[last]]), int(tie[ranked[last]]), int(position[ranked[last]]))


def up_to(chunk: Chunk, start: int, cut: Cut) -> Flags:
    """Which documents of a chunk, whose first has position `start`, lie up to the cut."""
    order, tie = np.uint64(cut.order), np.uint64(cut.tie)
    same = chunk.order == order
    position = np.arange(start, start + len(chunk.order))
    flags: Flags = chunk.order < order
    flags |= same & ((chunk.tie < tie) | ((chunk.tie == tie) & (position <= cut.position)))
    return flags


def orders(scores: NDArray[np.float64]) -> Orders:
    """Scores as whole numbers, the best score first. Raises ValueError for one that is not a number."""
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    bits = (scores + 0.0).view(np.uint64)  # + 0.0: -0.0 is 0.0
    return ~np.where(bits & _SIGN, ~bits, bits | _SIGN)


def scores_of(order: Orders) -> NDArray[np.float64]:
    """The scores that `orders` made these of."""
    ascending = ~order
    return np.where(ascending & _SIGN, ascending ^ _SIGN, ~ascending).view(np.float64)


def ties(chances: NDArray[np.float64]) -> Orders:
    """Chances in [0, 1] as whole numbers of the same order."""
    return (chances + 0.0).view(np.uint64)


def _digit(chunk: Chunk, level: int) -> NDArray[np.int64]:
    column = chunk.order if level < _LEVELS // 2 else chunk.tie
    shift = np.uint64(64 - _DIGIT_BITS * (level % (_LEVELS // 2) + 1))
    return ((column >> shift) & np.uint64(_DIGITS - 1)).astype(np.int64)
