"""Two lineages on the same documents: what a changed project would keep otherwise. Pure but for the reading."""

from heapq import heappushpop
from itertools import count
from typing import Final, NamedTuple

from msgspec import Struct

from mira_stream.messages import Decision, Origin, decoder
from mira_stream.records import LogReader
from mira_stream.reliability.metrics import spearman

FLIPS_MAX: Final = 10
_decision: Final = decoder(Decision)
Place = tuple[str, int, int]


class Share(NamedTuple):
    """What one side selects of the documents that both have decided on."""

    documents: int
    tokens: int


class Flip(NamedTuple):
    """A document that one side selects and the other does not."""

    live: Decision
    tried: Decision


class SourceComparison(Struct, frozen=True, kw_only=True):
    """One source. `both`: documents (tokens) decided on by both sides; shares, overlap and flips are of these.

    `overlap` is |selected by both| / |selected by either| (Jaccard), `overlap_by_chance` what independent choices of
    the same sizes would give; `rho` the rank correlation of the two qualities. Null where undefined. `kept_anew` and
    `dropped_anew` are the flips if the tried side came into force.
    """

    source: str
    both: Share
    tried_only: int
    live: Share
    tried: Share
    overlap: float | None
    overlap_by_chance: float | None
    rho: float | None
    kept_anew: Share
    dropped_anew: Share
    flips: list[Flip]


class Comparison:
    """Takes in pairs of decisions of one document. Keeps two numbers a document, and the widest flips."""

    def __init__(self) -> None:
        self._sources: dict[str, _Tally] = {}

    def pair(self, live: Decision, tried: Decision) -> None:
        """One document that both sides have decided on."""
        self._of(live.source).pair(live, tried)

    def tried_only(self, tried: Decision) -> None:
        """One that the live side has not decided on yet, or no more (retention)."""
        self._of(tried.source).tried_only += 1

    def sources(self) -> list[SourceComparison]:
        """By name."""
        return [self._sources[name].result(name) for name in sorted(self._sources)]

    def _of(self, source: str) -> "_Tally":
        return self._sources.setdefault(source, _Tally())


class _Tally:
    def __init__(self) -> None:
        self.tried_only = 0
        self._qualities: list[tuple[float, float]] = []
        self._both = Share(0, 0)
        self._live = Share(0, 0)
        self._tried = Share(0, 0)
        self._agreed = 0
        self._kept_anew = Share(0, 0)
        self._dropped_anew = Share(0, 0)
        self._flips: list[tuple[float, int, Flip]] = []
        self._order = count()

    def pair(self, live: Decision, tried: Decision) -> None:
        self._qualities.append((live.quality, tried.quality))
        self._both = _add(self._both, live)
        if live.selected:
            self._live = _add(self._live, live)
        if tried.selected:
            self._tried = _add(self._tried, live)
        if live.selected and tried.selected:
            self._agreed += 1
        elif tried.selected:
            self._kept_anew = _add(self._kept_anew, live)
        elif live.selected:
            self._dropped_anew = _add(self._dropped_anew, live)
        if live.selected != tried.selected:
            self._remember(Flip(live, tried))

    def result(self, source: str) -> SourceComparison:
        live, tried, both = self._live.documents, self._tried.documents, self._both.documents
        either = live + tried - self._agreed
        expected = live * tried / both if both else 0.0
        return SourceComparison(
            source=source,
            both=self._both,
            tried_only=self.tried_only,
            live=self._live,
            tried=self._tried,
            overlap=self._agreed / either if either else None,
            overlap_by_chance=expected / (live + tried - expected) if either else None,
            rho=spearman(*zip(*self._qualities, strict=True)) if self._qualities else None,
            kept_anew=self._kept_anew,
            dropped_anew=self._dropped_anew,
            flips=[flip for _, _, flip in sorted(self._flips, key=lambda one: (-one[0], one[1]))],
        )

    def _remember(self, flip: Flip) -> None:
        """The flips whose two qualities lie furthest apart; of equal ones the first."""
        entry = (abs(flip.live.quality - flip.tried.quality), -next(self._order), flip)
        if len(self._flips) < FLIPS_MAX:
            self._flips.append(entry)
            self._flips.sort()
        elif entry > self._flips[0]:
            heappushpop(self._flips, entry)


async def compare(reader: LogReader, live: str, tried: str, newest: int) -> Comparison:
    """Pair the decisions of two topics by origin: of the tried one the `newest`, partition by partition."""
    waiting: dict[Place, bytes] = {}
    for partition in await reader.partitions(tried):
        first, end = (await reader.bounds([partition]))[partition]
        async for record in reader.read(partition, max(first, end - newest), end):
            waiting[place_of(_decision.decode(record.value or b"").origin)] = record.value or b""
    found = Comparison()
    for partition in await reader.partitions(live):
        async for record in reader.read(partition, *(await reader.bounds([partition]))[partition]):
            decided = _decision.decode(record.value or b"")
            other = waiting.pop(place_of(decided.origin), None)
            if other is not None:
                found.pair(decided, _decision.decode(other))
    for raw in waiting.values():
        found.tried_only(_decision.decode(raw))
    return found


def place_of(origin: Origin) -> Place:
    return origin.topic, origin.partition, origin.offset


def _add(share: Share, decision: Decision) -> Share:
    return Share(share.documents + 1, share.tokens + decision.tokens)
