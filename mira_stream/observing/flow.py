"""Rates over the last looks, over restarts of services and their silences.

Each look gives every counter a rate: what it gained since its service last answered, by the time since then. A
service that was not heard before gives none: what it did before is not now.
"""

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from mira_stream.observing.facts import Look, Positions
from mira_stream.observing.scraped import Scrape, Series, gained, select

SMOOTH_MS: Final = 10_000
"""Rates are means over so long."""
LOOKS_MAX: Final = 64


class Moment(NamedTuple):
    """`span_ms`: since the look before. `ends`: records appended a second, by topic."""

    at_ms: int
    span_ms: int
    rates: Mapping[Series, float]
    ends: Mapping[str, float]


class Flow:
    """Feed it looks in order; ask it for rates."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[int, Scrape]] = {}
        self._ends: dict[str, tuple[int, int]] = {}
        self._moments: deque[Moment] = deque(maxlen=LOOKS_MAX)
        self._last_ms: int | None = None

    def take(self, look: Look) -> None:
        rates: dict[Series, float] = defaultdict(float)
        for name, answer in look.answers.items():
            if answer.scrape is None:
                continue
            if name in self._heard and (span := look.at_ms - self._heard[name][0]) > 0:
                for series, gain in gained(self._heard[name][1], answer.scrape).items():
                    rates[series] += gain * 1000 / span
            self._heard[name] = (look.at_ms, answer.scrape)
        for name in self._heard.keys() - look.answers.keys():
            del self._heard[name]
        ends = {}
        for topic, end in _ends(look.documents, look.scores, look.decisions).items():
            at_ms, before = self._ends.get(topic, (look.at_ms, end))
            if look.at_ms > at_ms:
                ends[topic] = max(0, end - before) * 1000 / (look.at_ms - at_ms)
            self._ends[topic] = (look.at_ms, end)
        if self._last_ms is not None and look.at_ms > self._last_ms:
            self._moments.append(Moment(look.at_ms, look.at_ms - self._last_ms, rates, ends))
        self._last_ms = look.at_ms

    def rate(self, name: str, **labels: str) -> float | None:
        """Of all series of that name together, a second; None if none of them was ever seen to count."""
        by = self.rates(name, **labels)
        return sum(by.values()) if by else None

    def rates(self, name: str, **labels: str) -> dict[Series, float]:
        """Of each series of that name."""
        found: dict[Series, float] = defaultdict(float)
        recent, span = self._recent()
        for moment in recent:
            for series, rate in select(moment.rates, name, **labels):
                found[series] += rate * moment.span_ms / span
        return found

    def appended(self, *topics: str) -> float | None:
        """Offsets a second that the topics grow by, markers of transactions included."""
        recent, span = self._recent()
        known = [moment for moment in recent if any(topic in moment.ends for topic in topics)]
        if not known:
            return None
        return sum(moment.ends.get(topic, 0.0) * moment.span_ms / span for moment in known for topic in topics)

    def _recent(self) -> tuple[list[Moment], int]:
        if self._last_ms is None:
            return [], 1
        recent = [moment for moment in self._moments if moment.at_ms > self._last_ms - SMOOTH_MS]
        return recent, max(1, sum(moment.span_ms for moment in recent))


def _ends(*positions: Positions) -> dict[str, int]:
    ends: dict[str, int] = defaultdict(int)
    for some in positions:
        for partition, position in some.items():
            ends[partition.topic] += position.end
    return ends
