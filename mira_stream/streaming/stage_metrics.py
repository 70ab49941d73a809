"""Metrics of one stage's back-pressure, stalls and lag."""

from collections import Counter as Counted
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mira_stream.streaming.bounded import OTHER, Places
from mira_stream.streaming.lag import Behind
from mira_stream.streaming.pressure import CAUSES, Cause, State
from mira_stream.streaming.stalls import STALLS, Found

STUCK_MAX: Final = 10

Number = float | None


class StageMetrics:
    """A bounded number of partitions have series of their own; of the others `partition="other"` shows the worst."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def by_partition(name: str, help_: str) -> Gauge:
            return Gauge(name, help_, ["topic", "partition"], registry=registry)

        self._partitioned: Final = (
            by_partition(
                "mira_lag_records",
                "Offsets between the next one to read and the log's end, markers of transactions, too; 0: only these",
            ),
            by_partition(
                "mira_lag_seconds",
                "Age of the oldest unread record by its own time, behind an open transaction since it was seen;"
                " 0 if all are read",
            ),
            by_partition(
                "mira_retention_headroom_ratio", "Share of the topic's retention that the oldest unread record has left"
            ),
            by_partition("mira_partition_span", "Offsets from the first unfinished record to the last one read"),
            by_partition("mira_progress_ranges", "Ranges of finished offsets above the first unfinished record"),
        )
        self._asked = _Asked()
        registry.register(self._asked)  # before those that its stages set
        self.state = Gauge(
            "mira_backpressure_state",
            "0 free, 1 throttled (over the low mark, or some partition waits), 2 full (nothing is admitted)",
            ["stage"],
            registry=registry,
        )
        self.waited = Counter(
            "mira_backpressure_seconds_total",
            "Time in which nothing, or (partition_span, broker) nothing of some partition, could be admitted",
            ["stage", "cause"],
            registry=registry,
        )
        self.stalled = Gauge(
            "mira_stalled", "1 while a stage stands still though it should not", ["stage", "cause"], registry=registry
        )  # fmt: skip
        self.stuck = Gauge(
            "mira_partition_stalled",
            "Partitions with work that do not move: 1 for each by name, of the first 10; the number of the others",
            ["stage", "topic", "partition"],
            registry=registry,
        )
        self._stuck: dict[str, Counted[tuple[str, str]]] = {}
        self._places = Places()

    def behind(self, stage: str, found: Sequence[Behind]) -> None:
        """All partitions of the stage; those it had before and has no more lose their series."""
        chosen, gone = self._places.choose(stage, [one.partition for one in found])
        for topic, number in gone:
            for gauge in self._partitioned:
                gauge.remove(topic, str(number))
        rest: dict[str, list[Behind]] = {}
        for one in found:
            if one.partition in chosen:
                self._show(one.partition.topic, str(one.partition.partition), _values(one))
            else:
                rest.setdefault(one.partition.topic, []).append(one)
        for topic, some in rest.items():
            self._show(topic, OTHER, _worst(some))

    @contextmanager
    def asking(self, press: Callable[[], None]) -> Iterator[None]:
        """While the block runs, a stage says its pressure, by `press`, whenever metrics are read."""
        self._asked.stages.append(press)
        try:
            yield
        finally:
            self._asked.stages.remove(press)

    def press(self, stage: str, state: State, seconds: Mapping[Cause, float]) -> None:
        self.state.labels(stage).set(state)
        for cause in CAUSES:
            self.waited.labels(stage, cause).inc(seconds.get(cause, 0.0))

    def stall(self, stage: str, found: Found) -> None:
        """Only partitions that are stuck have a series."""
        for cause in STALLS:
            self.stalled.labels(stage, cause).set(cause in found.causes)
        shown = Counted((topic, str(number)) for topic, number in sorted(found.stuck)[:STUCK_MAX])
        shown.update((topic, OTHER) for topic, _ in sorted(found.stuck)[STUCK_MAX:])
        for topic, partition in self._stuck.get(stage, Counted()).keys() - shown.keys():
            self.stuck.remove(stage, topic, partition)
        for (topic, partition), count in shown.items():
            self.stuck.labels(stage, topic, partition).set(count)
        self._stuck[stage] = shown

    def _show(self, topic: str, partition: str, values: Sequence[Number]) -> None:
        for gauge, value in zip(self._partitioned, values, strict=True):
            if value is None:
                gauge.remove(topic, partition)
            else:
                gauge.labels(topic, partition).set(value)


class _Asked(Collector):
    """Shows nothing of its own: it has the stages say what holds at the moment of reading."""

    def __init__(self) -> None:
        self.stages: list[Callable[[], None]] = []

    def collect(self) -> Iterable[Metric]:
        for press in self.stages:
            press()
        return ()

    def describe(self) -> Iterable[Metric]:
        return ()


def _values(one: Behind) -> tuple[Number, ...]:
    return one.records, one.seconds, one.headroom, one.span, one.ranges


def _worst(some: Sequence[Behind]) -> tuple[Number, ...]:
    left = [one.headroom for one in some if one.headroom is not None]
    return (
        max(one.records for one in some),
        max(one.seconds for one in some),
        min(left) if left else None,
        max(one.span for one in some),
        max(one.ranges for one in some),
    )
