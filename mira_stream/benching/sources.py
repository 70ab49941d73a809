"""Documents to measure with, of several sources. Pure."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def in_turn(sources: Iterable[Iterable[T]]) -> Iterator[T]:
    """One of each in turn, as long as any has one: where a source ends, the others go on."""
    left = [iter(one) for one in sources]
    while left:
        more = []
        for one in left:
            for found in islice(one, 1):
                yield found
                more.append(one)
        left = more
