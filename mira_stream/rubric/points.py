"""Free-form judgements as points: one for each different (name, reason), with the records that carry it. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mira_stream.rubric.freeform import FreeDimension


class Judged(NamedTuple):
    """One document and the fifteen dimensions the teacher named for it."""

    document_id: str
    source: str
    dimensions: Sequence[FreeDimension]


class Mention(NamedTuple):
    """One record labelled with a point's name and reason."""

    score: float
    document_id: str


class Point(NamedTuple):
    """A name with a reason, and every record that carries them, in the order of score and document."""

    name: str
    reason: str
    mentions: tuple[Mention, ...]

    @property
    def text(self) -> str:
        """What is embedded."""
        return f"{self.name}: {self.reason}"


def points_of(judged: Iterable[Judged]) -> list[Point]:
    """All points, ordered by name and reason: whichever order the documents come in, the points are the same."""
    found: dict[tuple[str, str], list[Mention]] = {}
    for one in judged:
        for dimension in one.dimensions:
            found.setdefault((dimension.name, dimension.reason), []).append(Mention(dimension.score, one.document_id))
    return [Point(name, reason, tuple(sorted(mentions))) for (name, reason), mentions in sorted(found.items())]
