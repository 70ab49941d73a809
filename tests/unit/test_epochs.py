"""Borders, the corrected target, marks, and what they make of one document."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.chance import u
from mira_stream.epochs import correct_target, count_border, decide, is_above, thresholds, undercut
from mira_stream.messages import Mark, Prior
from mira_stream.sketch import Sketch, from_prior

SCORES = [7.0] * 15


def filled(cells: list[int]) -> Sketch:
    sketch = Sketch()
    for cell in cells:
        sketch.add(cell, 10)
    return sketch


def test_borders_by_count_come_every_tenth_card_then_every_half_then_every_hundredth() -> None:
    borders, since = [], 0
    for n in range(600):
        if count_border(n, since):
            borders.append(n)
            since = 0
        since += 1
    assert borders == [10, 20, 39, 77, 153, 253, 353, 453, 553]


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_border_comes_after_at_least_10_and_at_most_100_cards(n: int, since: int) -> None:
    assert not (count_border(n, since) and since < 10)
    assert count_border(n, since) or since < 100


@given(st.floats(0, 1), st.floats(-1e6, 1e6), st.integers(0, 10_000), st.floats(0.1, 1e4), st.integers(1, 5_000))
def test_the_corrected_target_is_a_share_and_moves_towards_what_is_owed(
    target: float, owed: float, n: int, mean_weight: float, horizon: int
) -> None:
    corrected = correct_target(target, owed, n, mean_weight, horizon)
    assert 0.0 <= corrected <= 1.0
    assert corrected >= target if owed >= 0 else corrected <= target


def test_the_correction_is_spread_over_the_horizon() -> None:
    assert correct_target(0.5, 5.0, 0, 1.0, 500) == 0.5 + 5 / 25
    assert correct_target(0.5, 5.0, 100, 1.0, 500) == 0.5 + 5 / 100
    assert correct_target(0.5, 5.0, 10_000, 1.0, 500) == 0.5 + 5 / 500
    assert correct_target(0.5, -500.0, 100, 100.0, 500) == 0.5 - 5 / 100
    assert correct_target(0.5, 3.0, 100, 0.0, 500) == 0.5


def test_the_marks_stand_half_a_band_off_the_target() -> None:
    found = thresholds(filled(list(range(100, 200))), "documents", 100, 0.3, 0.1)
    assert found.basis == "source"
    assert found.keep is not None
    assert found.drop is not None
    assert (found.keep.value, found.drop.value) == (17.5, 16.5)


@pytest.mark.parametrize(("target", "kept", "selected_at_most"), [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.02, 0.0, 0.04)])
def test_the_band_shrinks_at_the_ends(target: float, kept: float, selected_at_most: float) -> None:
    sketch = filled(list(range(1000)))
    found = thresholds(sketch, "documents", 1000, target, 0.1)
    assert found.keep is not None
    assert found.drop is not None
    outcomes = [decide(f"d{cell}", cell / 10, SCORES, {}, found.keep, found.drop, target) for cell in range(1000)]
    assert sum(outcome.decision == "keep" for outcome in outcomes) / 1000 == pytest.approx(kept, abs=0.001)
    assert sum(outcome.decision != "drop" for outcome in outcomes) / 1000 <= selected_at_most + 0.001


def test_basis_is_prior_until_ten_cards_were_decided() -> None:
    sketch = from_prior(Prior(cells={"500": 10, "600": 10}, documents=20, tokens=0))
    assert thresholds(sketch, "documents", 0, 0.5, 0.1).basis == "prior"
    for n in range(1, 11):
        sketch.add(550, 10)
        assert thresholds(sketch, "documents", n, 0.5, 0.1).basis == ("source" if n == 10 else "prior")


def test_without_prior_the_first_ten_cards_are_cold() -> None:
    for n in range(10):
        assert thresholds(filled([500] * n), "documents", n, 0.5, 0.1)[2:] == (None, None)
    assert thresholds(filled([500] * 10), "documents", 10, 0.5, 0.1).basis == "source"


def test_documents_without_tokens_leave_a_token_budget_cold() -> None:
    sketch = Sketch()
    for _ in range(50):
        sketch.add(500, 0)
    assert thresholds(sketch, "tokens", 50, 0.5, 0.1).basis == "cold_hash"


def test_cold_decisions_meet_the_target_by_chance() -> None:
    outcomes = [decide(f"d{i}", 50.0, SCORES, {}, None, None, 0.3) for i in range(2_000)]
    assert {(o.decision, o.reason) for o in outcomes} == {("downsample", "cold_hash")}
    assert all(o.selected == (u("cold", f"d{i}") < 0.3) for i, o in enumerate(outcomes))
    assert sum(o.selected for o in outcomes) / 2_000 == pytest.approx(0.3, abs=0.05)


def test_above_band_below() -> None:
    keep, drop = Mark(value=70.0, tie_fraction=0.0), Mark(value=60.0, tie_fraction=1.0)
    assert decide("d", 70.1, SCORES, {}, keep, drop, 0.5) == ("keep", True, "above")
    assert decide("d", 59.9, SCORES, {}, keep, drop, 0.5) == ("drop", False, "below")
    for name in ("a", "b", "c", "d"):
        chosen = u("band", name) < 0.5
        assert decide(name, 70.0, SCORES, {}, keep, drop, 0.5) == ("downsample", chosen, "band")
        assert decide(name, 60.0, SCORES, {}, keep, drop, 0.5) == ("downsample", chosen, "band")


def test_ties_are_split_by_the_documents_own_luck() -> None:
    mark = Mark(value=70.0, tie_fraction=0.4)
    for i in range(200):
        assert is_above(mark, 70.0, f"d{i}") == (u("tie", f"d{i}") < 0.4)


@given(st.floats(0, 1), st.floats(0, 1))
def test_who_is_above_keep_is_above_drop(one: float, other: float) -> None:
    low, high = sorted((one, other))
    keep, drop = Mark(value=70.0, tie_fraction=low), Mark(value=70.0, tie_fraction=high)
    assert all(is_above(drop, 70.0, f"d{i}") for i in range(50) if is_above(keep, 70.0, f"d{i}"))


def test_a_floor_overrules_everything_and_an_unread_score_passes_none() -> None:
    scores: list[float | None] = [9.0, 2.0, None, *[9.0] * 12]
    keep = drop = Mark(value=0.0, tie_fraction=1.0)
    assert decide("d", 90.0, scores, {"A2": 3.0}, keep, drop, 1.0) == ("drop", False, "floor:A2")
    assert decide("d", 90.0, scores, {"A2": 2.0}, keep, drop, 1.0).decision == "keep"
    assert undercut(scores, {"A1": 9.0}) is None
    assert undercut(scores, {"A2": 3.0, "A3": 5.0}) == "A2"
    assert decide("d", 90.0, scores, {"A1": 1.0, "A3": 0.0}, keep, drop, 1.0) == ("drop", False, "floor:A3:unread")
    assert decide("d", 90.0, scores, {"A2": 3.0}, None, None, 1.0).reason == "floor:A2"
