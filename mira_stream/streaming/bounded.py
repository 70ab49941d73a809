"""Labels whose values nobody bounds, bounded: so many series, however many sources and partitions there are. Pure."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final

OTHER: Final = "other"
SOURCES_MAX: Final = 50
PARTITIONS_MAX: Final = 60
COUNTED_MAX: Final = 10_000
"""Sources that are counted one by one; beyond them counts of the rarest are forgotten."""
OVERTAKES: Final = 2
"""A source takes the place of another one when it has been seen so many times as often: places must not flutter."""


class Busiest:
    """The busiest sources have a label of their own, all the others are `other`. `left` hears of a source that lost
    its place, so that its series end."""

    def __init__(self, left: Callable[[str], None], places: int = SOURCES_MAX) -> None:
        self._left = left
        self._places = places
        self._counts: dict[str, int] = {}
        self._labelled: set[str] = set()

    def count(self, source: str) -> str:
        """One more document of `source`; gives the label it is counted under."""
        counts = self._counts
        seen = counts[source] = counts.get(source, 0) + 1
        if source in self._labelled:
            return source
        if len(counts) > COUNTED_MAX:
            self._forget()
        return self._place(source, seen)

    def label(self, source: str) -> str:
        """Its label, without counting it."""
        if source in self._labelled:
            return source
        return self._place(source, self._counts.setdefault(source, 0)) if source != OTHER else OTHER

    def _place(self, source: str, seen: int) -> str:
        if len(self._labelled) >= self._places:
            if seen & (seen - 1) or not seen:  # looked at when a count doubles: seldom, and soon enough
                return OTHER
            rarest = min(self._labelled, key=self._counts.__getitem__)
            if seen < OVERTAKES * max(1, self._counts[rarest]):
                return OTHER
            self._labelled.remove(rarest)
            self._left(rarest)
        self._labelled.add(source)
        return source

    def _forget(self) -> None:
        by_count = sorted(self._counts, key=self._counts.__getitem__, reverse=True)
        kept = {*by_count[: COUNTED_MAX // 2], *self._labelled}
        self._counts = {source: count for source, count in self._counts.items() if source in kept}


class Places:
    """A bounded number of keys in use by several owners at once."""

    def __init__(self, places: int = PARTITIONS_MAX) -> None:
        self._places = places
        self._of: dict[Hashable, set[tuple[str, int]]] = {}

    def choose(
        self, owner: Hashable, wanted: Iterable[tuple[str, int]]
    ) -> tuple[set[tuple[str, int]], Sequence[tuple[str, int]]]:
        """Which of the `wanted` keys the owner has from now on, and which of its former ones nobody has any more."""
        before = self._of.get(owner, set())
        others = set().union(*(keys for of, keys in self._of.items() if of != owner))
        room = max(0, self._places - len(others))
        chosen = set(sorted(wanted)[:room])
        self._of[owner] = chosen
        return chosen, sorted(before - chosen - others)
