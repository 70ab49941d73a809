"""Kept sets: against scikit-learn's kappa, against the definition, and errors that a document's dimensions share."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from mira_stream.chance import u
from mira_stream.reliability.kept import GAIN_MIN, KeptSets, kept_sets
from mira_stream.reliability.measure import Measured, Terms, measure
from mira_stream.reliability.table import SourceReliability
from mira_stream.sections import MaskLimits

TERMS = Terms(MaskLimits(), 0.1)


def found(teacher: list[float], student: list[float], target: float = 0.5) -> KeptSets:
    ids = [f"d{i}" for i in range(len(teacher))]
    sets = kept_sets(teacher, student, ids, ids, target)
    assert sets is not None
    return sets


qualities = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=10, max_size=10)


@given(qualities, st.sampled_from([0.2, 0.5, 0.8]))
@settings(max_examples=40)
def test_overlap_kappa_and_gain_are_what_they_are_called(pairs: list[tuple[int, int]], target: float) -> None:
    teacher, student = ([float(pair[side]) for pair in pairs] for side in (0, 1))
    sets = found(teacher, student, target)
    count = round(10 * target)

    def kept(side: list[float]) -> set[int]:
        return set(sorted(range(10), key=lambda i: (-side[i], u("tie", f"d{i}")))[:count])

    best, chosen = kept(teacher), kept(student)
    assert sets.overlap == pytest.approx(len(best & chosen) / count)
    assert sets.kappa == pytest.approx(
        cohen_kappa_score([i in best for i in range(10)], [i in chosen for i in range(10)])
    )
    mean = sum(teacher) / 10
    possible = sum(teacher[i] for i in best) / count - mean
    if possible < 1e-9:
        assert sets.gain is sets.gain_lo is None
    else:
        assert sets.gain == pytest.approx((sum(teacher[i] for i in chosen) / count - mean) / possible)


def test_the_teacher_itself_gains_all_and_chance_gains_nothing() -> None:
    chance = np.random.default_rng(0)
    teacher = chance.normal(60, 10, 2000).tolist()
    same, random = found(teacher, teacher), found(teacher, chance.normal(60, 10, 2000).tolist())
    assert (same.overlap, same.kappa, same.gain, same.gain_lo) == (1, 1, 1, 1)
    assert random.overlap == pytest.approx(0.5, abs=0.04)
    assert random.kappa == pytest.approx(0, abs=0.08)
    assert random.gain == pytest.approx(0, abs=0.08)


def test_nothing_kept_and_everything_kept() -> None:
    ids = ["a", "b", "c"]
    assert kept_sets([1, 2, 3], [3, 2, 1], ids, ids, 0.0) is None
    sets = kept_sets([1, 2, 3], [3, 2, 1], ids, ids, 1.0)
    assert sets is not None
    assert (sets.overlap, sets.kappa, sets.gain) == (1, None, None)
    with pytest.raises(ValueError, match="need documents"):
        kept_sets([], [], [], [], 0.5)


def test_the_bounds_of_the_gain_hold_it_nine_times_in_ten() -> None:
    chance = np.random.default_rng(1)

    def draw(count: int) -> tuple[list[float], list[float]]:
        teacher = chance.normal(60, 10, count)
        return teacher.tolist(), (teacher + chance.normal(0, 5, count)).tolist()

    true = 10 / np.hypot(10, 5)  # of normal qualities it is their correlation
    drawn = [found(*draw(200)) for _ in range(80)]
    assert 0.82 <= np.mean([sets.gain_lo is not None and sets.gain_lo <= true for sets in drawn]) <= 0.98
    assert 0.82 <= np.mean([sets.gain_hi is not None and sets.gain_hi >= true for sets in drawn]) <= 0.98


def students(shared: bool, mae: float, count: int = 400) -> SourceReliability:
    """Fifteen dimensions of one quality, and errors of the given MAE in each: one a document, or one a score."""
    chance = np.random.default_rng(2)
    teacher = chance.normal(6, 1.45, (count, 1)) + chance.normal(0, 0.5, (count, 15))
    errors = chance.normal(0, 1, (count, 1 if shared else 15)) + np.zeros((count, 15))
    errors *= mae / np.abs(errors).mean(0)
    rows = [
        Measured(f"d{i}", "s", t, s, 50.0, "keep")
        for i, (t, s) in enumerate(zip(teacher.tolist(), (teacher + errors).tolist(), strict=True))
    ]
    table = measure(rows, group="g", rubric="r", lineage="l", labels=b"", mode="scores", terms=TERMS)
    return table.modes["scores"].sources["s"]


def test_an_error_that_dimensions_share_passes_every_cell_and_is_found_in_the_kept_set() -> None:
    source = students(shared=True, mae=0.96)
    assert len(source.reliable) == 15
    assert all(cell.mae == pytest.approx(0.96, abs=0.001) for cell in source.dimensions.values())
    assert source.aggregate.overlap == pytest.approx(0.78, abs=0.03)
    assert source.aggregate.gain is not None
    assert source.aggregate.gain < GAIN_MIN
    assert source.aggregate.shared_error
    (warning,) = source.warnings
    assert warning.startswith("shared_error: 15 dimensions pass")
    assert warning.endswith("errors do not average out")


def test_a_bound_alone_shows_no_shared_error() -> None:
    source = students(shared=True, mae=0.55, count=60)
    assert source.aggregate.gain_hi is not None
    assert source.aggregate.gain_hi >= GAIN_MIN
    assert source.aggregate.shared_error
    assert any(warning.endswith("that its errors average out is not shown") for warning in source.warnings)


def test_errors_as_large_that_are_independent_average_out() -> None:
    source = students(shared=False, mae=0.96)
    assert len(source.reliable) == 15
    assert source.aggregate.gain_lo is not None
    assert source.aggregate.gain_lo > GAIN_MIN
    assert not source.aggregate.shared_error
    assert source.warnings == []


def test_cells_that_do_not_pass_are_masked_and_no_shared_error() -> None:
    source = students(shared=True, mae=1.4)
    assert source.reliable == ()
    assert not source.aggregate.shared_error
    assert [warning.split(":")[0] for warning in source.warnings] == ["too_few_dimensions"]


def test_a_larger_shared_error_never_gains_more() -> None:
    gains = [students(shared=True, mae=mae).aggregate.gain or 0 for mae in (0.1, 0.4, 0.7, 0.9)]
    assert all(first > second for first, second in pairwise(gains))
