"""Which documents are labelled, and on which side of the split each stands. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappush, heappushpop
from typing import Final, NamedTuple, TypeVar

from mira_stream.chance import HELDOUT_SHARE, is_heldout, u
from mira_stream.distill.labels import MEASURED_SHARE, Chosen, is_measured, split_of
from mira_stream.duplicates import clusters
from mira_stream.messages import Document

COMPARED_CHARACTERS_MAX: Final = 64_000
"""So much of a document takes part in the search for near-duplicates."""
HELDOUT_ENOUGH: Final = 100
"""Held-out documents of a source under which a table of reliability is a lottery (DESIGN, section 7)."""
_AGAIN: Final = "\0"
T = TypeVar("T", float, tuple[float, str])


class Candidate(NamedTuple):
    """A document that could be rendered, and how many came later in its source under the same id."""

    id: str
    source: str
    text: str
    repeats: int = 0

    def __repr__(self) -> str:
        return f"<Candidate {self.source}/{self.id}>"


class Drawn(NamedTuple):
    """A document, and how many came later under its id."""

    document: Document
    repeats: int


class Choice(NamedTuple):
    """What is labelled. Left out: `repeated` ids of one source; `crossing`: held out by themselves, in a training
    cluster. `copies`: documents beyond the first of each near-duplicate cluster."""

    documents: list[Chosen]
    repeated: int
    crossing: int
    copies: int


class Draw:
    """So many documents of a source to train on and to measure on, out of all that it has, in bounded memory.

    First come those that were `asked` about before: what was paid for is used. Then chance, a hash of the id: the order
    of reading changes nothing, and a larger draw contains a smaller one.
    """

    def __init__(self, documents: int, heldout: int, asked: Callable[[str], bool] = lambda _: False) -> None:
        self._room = {False: documents, True: heldout}
        self._asked = asked
        self._kept: dict[str, Drawn] = {}
        self._ranks: dict[bool, list[tuple[float, str]]] = {False: [], True: []}
        self._chances: dict[bool, list[float]] = {False: [], True: []}
        self.set_aside = 0
        """Documents neither trained nor measured on: there are some that no table and no student knows."""

    def add(self, document: Document) -> None:
        """One document, in the order of reading. A later one of the same id is counted and not drawn."""
        name = document.id
        if (before := self._kept.get(name)) is not None:
            self._kept[name] = before._replace(repeats=before.repeats + 1)
            return
        held = is_heldout(name)
        if held and not is_measured(name):
            self.set_aside += 1
            return
        if not self._room[held]:
            return
        chance = u("label", name)
        _keep_smallest(self._chances[held], -chance, self._room[held])
        out = _keep_smallest(self._ranks[held], (self._asked(name) - chance, name), self._room[held])
        if out is not None:
            self._kept.pop(out[1], None)
        if out is None or out[1] != name:
            self._kept[name] = Drawn(document, 0)

    @property
    def not_by_chance(self) -> int:
        """Documents that are drawn because they were asked about before, and would not be otherwise."""
        last = {held: -found[0] if found else 0.0 for held, found in self._chances.items()}
        return sum(u("label", name) > last[is_heldout(name)] for name in self._kept)

    def drawn(self) -> Iterator[Drawn]:
        """Hands the documents over, in the order of reading."""
        for name in list(self._kept):
            yield self._kept.pop(name)


def _keep_smallest(heap: list[T], one: T, room: int) -> T | None:
    """Add to a heap of negated values that keeps `room` of them; what falls out, if anything does."""
    if len(heap) < room:
        heappush(heap, one)
        return None
    return heappushpop(heap, one)


def choose(candidates: Iterable[Candidate]) -> Choice:
    """Find near-duplicates among all documents of a group, and put each on its side. An id is once in its source."""
    named = {(one.source, one.id): one for one in candidates}
    names = list(_names(named))
    found = clusters(
        {name: one.text[:COMPARED_CHARACTERS_MAX] for name, one in zip(names, named.values(), strict=True)}
    )
    chosen, crossing = [], 0
    for name, one in zip(names, named.values(), strict=True):
        cluster = found[name].partition(_AGAIN)[0]
        split = split_of(one.id, cluster)
        if split is None:
            crossing += 1
        else:
            chosen.append(Chosen(one.id, one.source, one.text, cluster, split))
    repeated = sum(one.repeats for one in named.values())
    return Choice(chosen, repeated, crossing, len(names) - len(set(found.values())))


def _names(named: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A name for each (source, id): the id, and behind it the source where another source has that id too."""
    seen: set[str] = set()
    for source, identifier in named:
        yield f"{identifier}{_AGAIN}{source}" if identifier in seen else identifier
        seen.add(identifier)


def warnings(choice: Choice, sources: Sequence[str]) -> list[str]:
    """What is too small to be relied on, and what was left out."""
    trained = Counter(one.source for one in choice.documents if one.split == "distill")
    held = Counter(one.source for one in choice.documents if one.split == "heldout")
    found = []
    for source in sources:
        if not trained[source]:
            found.append(f"{source}: no document to train on")
        if held[source] < HELDOUT_ENOUGH:
            found.append(
                f"{source}: {held[source]} held-out documents; under {HELDOUT_ENOUGH} a reliability table is a lottery"
                f" (some {100 * HELDOUT_SHARE * MEASURED_SHARE:.0f} of 100 documents of a source are measured on)"
            )
    if choice.crossing:
        found.append(f"{choice.crossing} held-out documents are left out: their near-duplicates are trained on")
    if choice.repeated:
        found.append(f"{choice.repeated} documents are left out: their id occurred before in their source")
    return found
