"""Agreement of student and teacher: values against scipy, bounds, verdicts."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mira_stream.config import MaskLimits
from mira_stream.reliability.metrics import Agreement, agreement, own_verdict, point_verdict, spearman

LIMITS = MaskLimits()
pairs = st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=2, max_size=60)


@given(pairs=pairs)
@settings(max_examples=200)
def test_rho_is_spearmans_with_average_ranks(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = stats.spearmanr(first, second).statistic
    ours = spearman(first, second)
    assert (ours is None) == math.isnan(expected)
    assert ours is None or ours == pytest.approx(expected, abs=1e-9)


@given(pairs=pairs)
@settings(max_examples=40)
def test_values_lie_within_their_bounds_and_repeat(pairs: list[tuple[int, int]]) -> None:
    teacher, student = (np.array(side, float) for side in zip(*pairs, strict=True))
    cell = agreement(teacher, student)
    assert cell == agreement(teacher, student)
    assert cell.n == len(pairs)
    assert cell.mae == pytest.approx(np.abs(teacher - student).mean())
    assert cell.bias == pytest.approx((student - teacher).mean())
    constant = np.abs(teacher - np.median(teacher)).mean()
    assert cell.skill == pytest.approx(1 - cell.mae / constant if constant else 0)
    assert cell.mae_lo <= cell.mae_hi
    assert (cell.rho is None) == (cell.rho_lo is None) == (cell.rho_hi is None)
    if cell.rho_lo is not None and cell.rho_hi is not None:
        assert -1 <= cell.rho_lo <= cell.rho_hi <= 1


def test_bounds_hold_the_value_nine_times_in_ten() -> None:
    chance = np.random.default_rng(0)
    teacher = chance.integers(1, 11, (200, 150))
    student = np.clip(teacher + chance.integers(-2, 3, teacher.shape), 1, 10)
    everything = agreement(teacher.ravel(), student.ravel())
    cells = [agreement(teacher[i], student[i]) for i in range(len(teacher))]
    assert 0.85 <= np.mean([cell.mae_hi >= everything.mae for cell in cells]) <= 0.95
    assert everything.rho is not None
    below = [cell.rho_lo is not None and cell.rho_lo <= everything.rho for cell in cells]
    assert 0.85 <= np.mean(below) <= 0.95


def test_no_documents_no_cell() -> None:
    assert spearman([], []) is None
    with pytest.raises(ValueError, match="needs documents"):
        agreement([], [])
    with pytest.raises(ValueError, match="same length"):
        agreement([1, 2], [1])


def cell(**values: float | None) -> Agreement:
    good = {
        "mae": 0.5,
        "mae_lo": 0.4,
        "mae_hi": 0.6,
        "rho": 0.9,
        "rho_lo": 0.8,
        "rho_hi": 0.95,
        "skill": 0.7,
        "bias": 0.0,
    }
    return Agreement(200, **(good | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "own", "point"),
    [
        ({}, "reliable", "reliable"),
        ({"mae_hi": 1.0}, "undecided", "reliable"),
        ({"rho_lo": 0.3}, "undecided", "reliable"),
        ({"skill": 0.0}, "undecided", "unreliable"),
        ({"mae": 1.2, "mae_hi": 1.4}, "undecided", "unreliable"),
        ({"mae": 1.2, "mae_lo": 1.0, "mae_hi": 1.4}, "unreliable", "unreliable"),
        ({"rho": 0.1, "rho_lo": 0.0, "rho_hi": 0.3}, "unreliable", "unreliable"),
        ({"rho": None, "rho_lo": None, "rho_hi": None}, "no_variance", "unreliable"),
    ],
)
def test_a_verdict_needs_its_bounds(values: dict[str, float | None], own: str, point: str) -> None:
    assert own_verdict(cell(**values), LIMITS) == own
    assert point_verdict(cell(**values), LIMITS) == point


def test_a_constant_student_has_no_variance() -> None:
    assert own_verdict(agreement([1, 5, 9], [5, 5, 5]), LIMITS) == "no_variance"
