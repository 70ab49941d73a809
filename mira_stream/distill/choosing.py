"""Which documents are labelled, and on which side of the split each stands. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from mira_stream.chance import is_heldout
from mira_stream.distill.labels import Chosen, is_measured, split_of
from mira_stream.duplicates import clusters

COMPARED_CHARACTERS_MAX: Final = 64_000
"""So much of a document takes part in the search for near-duplicates."""
HELDOUT_ENOUGH: Final = 100
"""Held-out documents of a source under which a table of reliability is a lottery (DESIGN, section 7)."""
_AGAIN: Final = "\0"


class Candidate(NamedTuple):
    """A document that could be rendered."""

    id: str
    source: str
    text: str

    def __repr__(self) -> str:
        return f"<Candidate {self.source}/{self.id}>"


class Choice(NamedTuple):
    """What is labelled. Left out: `repeated` ids of one source; `crossing`: held out by themselves, in a training
    cluster. `copies`: documents beyond the first of each near-duplicate cluster."""

    documents: list[Chosen]
    repeated: int
    crossing: int
    copies: int


class Quota:
    """So many documents of a source to train on and to measure on, the first that come."""

    def __init__(self, documents: int, heldout: int) -> None:
        self._left = {True: heldout, False: documents}

    def takes(self, document_id: str) -> bool:
        """Whether this document is wanted; it is counted if so."""
        held = is_heldout(document_id)
        if not self._left[held] or (held and not is_measured(document_id)):
            return False
        self._left[held] -= 1
        return True

    @property
    def full(self) -> bool:
        return not any(self._left.values())


def choose(candidates: Iterable[Candidate]) -> Choice:
    """Find near-duplicates among all documents of a group, and put each on its side."""
    named: dict[tuple[str, str], Candidate] = {}
    repeated = 0
    for one in candidates:
        repeated += (one.source, one.id) in named
        named.setdefault((one.source, one.id), one)
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
            )
    if choice.crossing:
        found.append(f"{choice.crossing} held-out documents are left out: their near-duplicates are trained on")
    if choice.repeated:
        found.append(f"{choice.repeated} documents are left out: their id occurred before in their source")
    return found
