"""A process that serves many groups shows as many of them by name as its budget of series has room for; the others are
one, `other`: counts are added up, of gauges the worst is shown. By what scaling asks for they keep their names longest.
Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from mira_stream.streaming.bounded import OTHER

NAMED: Final = (64, 32, 16, 8, 4, 2, 1)
"""Groups by name, tried in this order once all of them are too many."""
SUMMED: Final = frozenset(
    {
        "mira_committed_lag_records",
        "mira_in_flight",
        "mira_in_flight_limit",
        "mira_lag_records",
        "mira_partition_stalled",
        "mira_partitions_under_replicated",
        "mira_paused_partitions",
    }
)
"""Gauges that are counts."""
SMALLEST: Final = frozenset(
    {
        "mira_committed_headroom_ratio",
        "mira_engine_up",
        "mira_mask_reliability",
        "mira_retention_headroom_ratio",
    }
)
"""Gauges of which the smallest is the worst; of all others it is the largest."""
KEPT: Final = "mira_committed_lag_seconds"
"""What scaling asks for by topic keeps its names as long as it alone has room."""
KEPT_STEP: Final = 100
"""Beyond that so many topics at a time lose theirs, for series must not flutter."""

Place = tuple[str, tuple[tuple[str, str], ...]]


def within(families: Sequence[Metric], most: int, named: int | None) -> tuple[Sequence[Metric], int | None]:
    """The families with at most `most` samples, and how many groups are named now (None: all). `named`: how many were
    so far. They do not become more again, for series must not flutter. All that is not of a group must have room."""
    if named is None and _count(families) <= most:
        return families, None
    groups = sorted({group for family in families for sample in family.samples if (group := _group(sample.labels))})
    merged, number = families, len(groups)
    for number in (one for one in NAMED if named is None or one <= named):
        names = frozenset(groups[:number])
        merged = [family if family.name == KEPT else _merge(family, names) for family in families]
        if _count(merged) <= most:
            return merged, number
    room = most - _count(family for family in merged if family.name != KEPT) - 2  # `other`, and what is of no group
    names = frozenset(groups[: max(0, room // KEPT_STEP * KEPT_STEP)])
    return [_merge(family, names) if family.name == KEPT else family for family in merged], number


def _count(families: Iterable[Metric]) -> int:
    return sum(len(family.samples) for family in families)


def _group(labels: Mapping[str, str]) -> str:
    """The group that a sample is of; empty if it is of none."""
    if "group" in labels:
        return labels["group"]
    if labels.get("stage", "").startswith("score."):
        return labels["stage"].removeprefix("score.")
    return labels.get("topic", "").partition(".documents.")[2]


def _merge(family: Metric, named: frozenset[str]) -> Metric:
    together = _together(family)
    values: dict[Place, float] = {}
    for sample in family.samples:
        group = _group(sample.labels)
        labels = sample.labels if not group or group in named else _renamed(sample.labels, group)
        place = sample.name, tuple(labels.items())
        values[place] = together(values[place], sample.value) if place in values else sample.value
    merged = Metric(family.name, family.documentation, family.type)
    merged.samples = [Sample(name, dict(labels), value) for (name, labels), value in values.items()]
    return merged


def _renamed(labels: Mapping[str, str], group: str) -> dict[str, str]:
    def renamed(label: str, value: str) -> str:
        if label not in ("group", "stage", "topic") or not value.endswith(group):
            return value
        return value[: len(value) - len(group)] + OTHER

    return {label: renamed(label, value) for label, value in labels.items()}


def _together(family: Metric) -> Callable[[float, float], float]:
    if family.type != "gauge" or family.name in SUMMED:
        return lambda one, other: one + other
    if family.name in SMALLEST:
        return min
    return max
