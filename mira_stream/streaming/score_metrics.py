"""What students say, by source group and slot: counted in lists, and made into series when somebody reads them."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mira_stream.messages import DIMENSIONS, SLOTS
from mira_stream.streaming.bounded import OTHER

BOUNDS: Final = (3.0, 5.0, 7.0)
"""Upper bounds of the histogram's buckets, on the scale of 1 to 10; one more is open."""
GROUPS_MAX: Final = 4
"""Groups with series of their own in one process: with fifteen slots each has many."""
Spread = tuple[float | None, float | None]
"""(worst, median)"""


class ScoreMetrics(Collector):
    """A card costs one pass over its scores, and no lock: who counts and who reads are on one event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._named: set[str] = set()
        self._counts: dict[str, _Counts] = {}
        self.reliability = Gauge(
            "mira_mask_reliability",
            "Spearman's rho of student and teacher over the group's sources, by the table that this scorer began with;"
            " of the worst no series while some source's is undefined",
            ["group", "slot", "over"],
            registry=registry,
        )
        registry.register(self)

    def count(self, group: str, scores: Sequence[float | None]) -> None:
        """The fifteen scores of one card, in slot order."""
        label = self._label(group)
        if label not in self._counts:
            self._counts[label] = _Counts()
        self._counts[label].add(scores)

    def measured(self, group: str, spreads: Mapping[str, Spread]) -> None:
        """`spreads` by slot. Beyond GROUPS_MAX nothing is shown: a median of medians would be none."""
        if self._label(group) == OTHER:
            return
        for slot, spread in spreads.items():
            for over, value in zip(("worst", "median"), spread, strict=True):
                if value is not None:
                    self.reliability.labels(group, slot, over).set(value)

    def describe(self) -> Iterator[Metric]:
        return iter(_families())

    def collect(self) -> Iterator[Metric]:
        read, unread = _families()
        for group, counts in self._counts.items():
            for place, slot in enumerate(SLOTS):
                read.add_metric([group, slot], *counts.histogram(place))
                unread.add_metric([group, slot], counts.unread[place])
        yield read
        yield unread

    def _label(self, group: str) -> str:
        if group in self._named:
            return group
        if len(self._named) >= GROUPS_MAX:
            return OTHER
        self._named.add(group)
        return group


class _Counts:
    """Of one label: cards by slot and bucket, the sums of their scores, and scores that were not read."""

    def __init__(self) -> None:
        self._buckets = [[0] * (len(BOUNDS) + 1) for _ in range(DIMENSIONS)]
        self._sums = [0.0] * DIMENSIONS
        self.unread = [0] * DIMENSIONS

    def add(self, scores: Sequence[float | None]) -> None:
        for place, score in enumerate(scores):
            if score is None:
                self.unread[place] += 1
            else:
                self._buckets[place][bisect_left(BOUNDS, score)] += 1
                self._sums[place] += score

    def histogram(self, place: int) -> tuple[list[tuple[str, float]], float]:
        """(cumulative buckets, sum) as Prometheus has them."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._buckets[place], strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets, self._sums[place]


def _families() -> tuple[HistogramMetricFamily, CounterMetricFamily]:
    labels = ["group", "slot"]
    return (
        HistogramMetricFamily("mira_score", "Scores read out of students' replies", labels=labels),
        CounterMetricFamily("mira_score_unread", "Scores that could not be read: null in their cards", labels=labels),
    )
