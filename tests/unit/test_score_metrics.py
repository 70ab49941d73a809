"""Scores by group and slot: what a histogram of the library would show, for a pass over a list; few series."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from mira_stream.config import Project, Settings
from mira_stream.messages import SLOTS
from mira_stream.reliability.acceptance import served_under
from mira_stream.reliability.by_slot import Spread, spreads
from mira_stream.reliability.table import (
    WHOLE_GROUP,
    Acceptance,
    Aggregate,
    Cell,
    ModeReliability,
    SourceReliability,
    Table,
)
from mira_stream.sections import GroupSection, MaskLimits
from mira_stream.streaming.score_metrics import BOUNDS, GROUPS_MAX, ScoreMetrics

CARDS = st.lists(st.lists(st.none() | st.floats(0, 10), min_size=15, max_size=15), max_size=20)


@given(CARDS)
def test_it_shows_what_a_histogram_of_the_library_would(cards: list[list[float | None]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = ScoreMetrics(ours)
    library = Histogram("mira_score", "", ["group", "slot"], buckets=BOUNDS, registry=theirs)
    for scores in cards:
        metrics.count("text", scores)
        for slot, score in zip(SLOTS, scores, strict=True):
            library.labels("text", slot)
            if score is not None:
                library.labels("text", slot).observe(score)
    for family in theirs.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                assert ours.get_sample_value(sample.name, sample.labels) == pytest.approx(sample.value)
    unread = [sum(scores[place] is None for scores in cards) for place in range(15)]
    if cards:
        shown = [ours.get_sample_value("mira_score_unread_total", {"group": "text", "slot": slot}) for slot in SLOTS]
        assert shown == unread


def test_more_groups_than_have_series_are_counted_together() -> None:
    registry = CollectorRegistry()
    metrics = ScoreMetrics(registry)
    for number in range(GROUPS_MAX + 5):
        metrics.measured(f"g{number}", {"A1": (0.1, 0.2)})
        metrics.count(f"g{number}", [9.0] * 15)
    count = {"slot": "A15", "group": "other"}
    assert registry.get_sample_value("mira_score_count", count) == 5
    assert registry.get_sample_value("mira_score_count", count | {"group": "g0"}) == 1
    named = {sample.labels["group"] for family in registry.collect() for sample in family.samples}
    assert named == {"other", *(f"g{number}" for number in range(GROUPS_MAX))}


def source(rho: float | None, accepted: bool | None = None) -> SourceReliability:
    cell = Cell(n=50, mae=0.5, rho=rho, mae_hi=0.6, rho_lo=rho, skill=0.5, bias=0.0, verdict="reliable")
    acceptance = None if accepted is None else Acceptance(against="scores", n=500, difference_lo=0.0, accepted=accepted)
    nothing = Aggregate(rho=None, overlap=None, gain=None)
    return SourceReliability(n=50, aggregate=nothing, dimensions=dict.fromkeys(SLOTS, cell), acceptance=acceptance)


def mode(**rhos: SourceReliability) -> ModeReliability:
    return ModeReliability(lineage="l", means=[5.0] * 15, sources={WHOLE_GROUP: source(0.5, True), **rhos})


def table(**modes: ModeReliability) -> Table:
    return Table(
        group="text", rubric="r", labels_sha256="", split="heldout", limits=MaskLimits(), modes=modes  # type: ignore[arg-type]
    )  # fmt: skip


def project(served: str = "scores") -> Project:
    return Project(Path(), Settings(groups={"text": GroupSection(family="text", mode=served)}))  # type: ignore[arg-type]


def spread_of(found: Table, served: str = "scores") -> Spread | None:
    return spreads(found, served_under(project(served), "text", found)).get("A7")


def test_worst_and_median_are_those_of_the_sources_without_the_whole_group() -> None:
    assert spread_of(table(scores=mode(a=source(0.9), b=source(0.2), c=source(0.8)))) == (0.2, 0.8)


def test_where_a_source_is_undefined_nobody_knows_the_worst() -> None:
    assert spread_of(table(scores=mode(a=source(0.9), b=source(None)))) == (None, 0.9)
    assert spread_of(table(scores=mode(a=source(None)))) == (None, None)


def test_a_group_that_was_measured_as_a_whole_only_shows_that() -> None:
    assert spread_of(table(scores=mode())) == (0.5, 0.5)


def test_a_source_that_fell_back_shows_the_mode_it_is_judged_in() -> None:
    fast, slow = mode(a=source(0.9, True), b=source(0.1, False)), mode(a=source(0.3), b=source(0.7))
    assert spread_of(table(expected=fast, scores=slow), "expected") == (0.7, 0.8)


def test_a_mode_that_was_not_measured_shows_nothing() -> None:
    assert spread_of(table(expected=mode(a=source(0.9, True)))) is None
