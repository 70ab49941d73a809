"""Two lineages on the same documents: what a changed project would keep otherwise. Pure but for the reading."""

from collections import Counter
from collections.abc import AsyncIterator
from heapq import heappushpop
from itertools import count
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from mira_stream.audit.asked import Said, asked_of_all, said_of
from mira_stream.errors import DataLossError
from mira_stream.messages import DeadLetter, Decision, Origin, decoder
from mira_stream.records import LogReader
from mira_stream.reliability.metrics import spearman
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.policies import PolicyLog

FLIPS_MAX: Final = 10
_decision: Final = decoder(Decision)
_letter: Final = decoder(DeadLetter)
OriginKey = tuple[str, int, int]
M = TypeVar("M", Decision, DeadLetter)


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
    `tried_only`: the live side has no outcome of them (not yet, or no more); `tried_dead`: dead letters of the tried
    side that the live side decided on, `live_dead` the other way round.

    `overlap` is |selected by both| / |selected by either| (Jaccard), `overlap_by_chance` what independent choices of
    the same sizes would give; `overlap_ranked` that of as many of the best by each side's quality as the live side
    selects (equal ones in the order of the log): what lies between it and `overlap` is of thresholds, which stand
    elsewhere when cards come in another order; `rho` the rank correlation of the two qualities. Null where undefined.
    `kept_anew` and `dropped_anew` are the flips if the tried side came into force. `asked`: what the sides were asked
    otherwise when they decided.
    """

    source: str
    both: Share
    tried_only: int
    tried_dead: int
    live_dead: int
    live: Share
    tried: Share
    overlap: float | None
    overlap_by_chance: float | None
    overlap_ranked: float | None
    rho: float | None
    kept_anew: Share
    dropped_anew: Share
    asked: list[str]
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

    def tried_dead(self, source: str) -> None:
        """One that the live side decided on, and the tried one buried."""
        self._of(source).tried_dead += 1

    def live_dead(self, source: str) -> None:
        """One that the tried side decided on, and the live one buried."""
        self._of(source).live_dead += 1

    def asked(self, live: PolicyLog, tried: PolicyLog) -> None:
        """Note what was asked of the sides of each source, by the policies that their decisions name."""
        for tally in self._sources.values():
            tally.asked = asked_of_all(tally.said, live, tried)

    def sources(self) -> list[SourceComparison]:
        """By name."""
        return [self._sources[name].result(name) for name in sorted(self._sources)]

    def _of(self, source: str) -> "_Tally":
        return self._sources.setdefault(source, _Tally())


class _Tally:
    def __init__(self) -> None:
        self.tried_only = self.tried_dead = self.live_dead = 0
        self.asked: list[str] = []
        self.said: Counter[tuple[Said, Said]] = Counter()
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
        self.said[said_of(live), said_of(tried)] += 1
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
            tried_dead=self.tried_dead,
            live_dead=self.live_dead,
            live=self._live,
            tried=self._tried,
            overlap=self._agreed / either if either else None,
            overlap_by_chance=expected / (live + tried - expected) if either else None,
            overlap_ranked=_of_the_best(self._qualities, live),
            rho=spearman(*zip(*self._qualities, strict=True)) if self._qualities else None,
            kept_anew=self._kept_anew,
            dropped_anew=self._dropped_anew,
            asked=self.asked,
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


class Side(NamedTuple):
    """The topics that one side's outcomes lie in, and what it is asked."""

    decisions: str
    dead_letters: str
    policy: str


async def compare(reader: LogReader, live: Side, tried: Side, newest: int, scores_key: str = "all") -> Comparison:
    """Pair the outcomes of two sides by origin: of the tried one the `newest`, partition by partition. `scores_key`: of
    [topics].

    Raises DataLossError(record_unreadable), and what PolicyFollower.refresh raises.
    """
    waiting: dict[OriginKey, Decision] = {}
    async for decided in _each(reader, tried.decisions, _decision, newest):
        waiting[key_of(decided.origin)] = decided
    buried: set[OriginKey] = set()
    async for letter in _each(reader, tried.dead_letters, _letter, newest):
        if letter.origin is not None:
            buried.add(key_of(letter.origin))
    found = Comparison()
    async for decided in _each(reader, live.decisions, _decision):
        key = key_of(decided.origin)
        other = waiting.pop(key, None)
        if other is not None:
            found.pair(decided, other)
        elif key in buried:
            found.tried_dead(decided.source)
    async for letter in _each(reader, live.dead_letters, _letter):
        other = None if letter.origin is None else waiting.pop(key_of(letter.origin), None)
        if other is not None:
            found.live_dead(other.source)
    for other in waiting.values():
        found.tried_only(other)
    logs = [PolicyFollower(side.policy, reader, scores_key) for side in (live, tried)]
    for log in logs:
        await log.refresh()
    found.asked(logs[0].log, logs[1].log)
    return found


async def _each(
    reader: LogReader, topic: str, decode: "msgspec.json.Decoder[M]", newest: int | None = None
) -> AsyncIterator[M]:
    for partition in await reader.partitions(topic):
        first, end = (await reader.bounds([partition]))[partition]
        async for record in reader.read(partition, first if newest is None else max(first, end - newest), end):
            try:
                yield decode.decode(record.value or b"")
            except msgspec.DecodeError as error:
                raise DataLossError(
                    "record_unreadable",
                    f"{topic}/{partition.partition}@{record.offset}: {error}",
                    "only mira-stream writes this topic; read it with the version that wrote it",
                ) from None


def _of_the_best(qualities: list[tuple[float, float]], many: int) -> float | None:
    """Jaccard of the `many` best by each of the two."""
    if not many:
        return None
    best = [set(sorted(range(len(qualities)), key=lambda at: -qualities[at][side])[:many]) for side in (0, 1)]
    return len(best[0] & best[1]) / len(best[0] | best[1])


def key_of(origin: Origin) -> OriginKey:
    return origin.topic, origin.partition, origin.offset


def _add(share: Share, decision: Decision) -> Share:
    return Share(share.documents + 1, share.tokens + decision.tokens)
