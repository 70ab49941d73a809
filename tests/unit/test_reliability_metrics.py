"""Agreement of student and teacher: values against scipy, bounds and their coverage, verdicts."""

import math
import time
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mira_stream.reliability.bootstrap import Floats, weights
from mira_stream.reliability.metrics import (
    DECIDABLE_CLUSTERS,
    Agreement,
    agreement,
    agreements,
    own_verdict,
    passes,
    spearman,
    spearman_of,
)
from mira_stream.sections import MaskLimits

LIMITS = MaskLimits()
pairs = st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=2, max_size=60)


def scipy_rho(first: object, second: object) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(stats.spearmanr(first, second).statistic)


@given(pairs=pairs)
@settings(max_examples=200)
def test_rho_is_spearmans_with_average_ranks(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    expected = scipy_rho(first, second)
    ours = spearman(first, second)
    assert (ours is None) == math.isnan(expected)
    assert ours is None or ours == pytest.approx(expected, abs=1e-9)


@given(pairs=pairs, data=st.data())
@settings(max_examples=60)
def test_a_weight_is_so_many_copies(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    first, second = (np.array(side, float) for side in zip(*pairs, strict=True))
    often = data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)).filter(any))
    ours = spearman_of(first, second, np.array(often, float)[:, None])[0]
    expected = scipy_rho(np.repeat(first, often), np.repeat(second, often)) if sum(often) > 1 else math.nan
    assert math.isnan(ours) == math.isnan(expected)
    assert math.isnan(ours) or ours == pytest.approx(expected, abs=1e-9)


def test_clusters_are_drawn_whole_and_as_many_as_there_are() -> None:
    clusters = ["a", "b", "a", "c", "b", "b"]
    drawn = np.concatenate(list(weights(clusters)), axis=1)
    assert drawn.shape == (6, 1000)
    assert (drawn[0] == drawn[2]).all()
    assert (drawn[1] == drawn[4]).all()
    assert (drawn[[0, 1, 3]].sum(0) == 3).all()
    assert drawn[0].mean() == pytest.approx(1, abs=0.1)
    assert drawn[0].var() == pytest.approx(2 / 3, abs=0.1)  # binomial(3, 1/3)


@given(pairs=pairs)
@settings(max_examples=40)
def test_values_lie_within_their_bounds_and_repeat(pairs: list[tuple[int, int]]) -> None:
    teacher, student = (np.array(side, float) for side in zip(*pairs, strict=True))
    cell = agreement(teacher, student)
    assert cell == agreement(teacher, student)
    assert cell.n == cell.clusters == len(pairs)
    assert cell.mae == pytest.approx(np.abs(teacher - student).mean())
    assert cell.bias == pytest.approx((student - teacher).mean())
    constant = np.abs(teacher - np.median(teacher)).mean()
    assert cell.skill == pytest.approx(1 - cell.mae / constant if constant else 0)
    assert cell.mae_lo <= cell.mae_hi
    assert cell.bias_lo <= cell.bias_hi
    assert cell.skill_lo <= cell.skill_hi
    assert (cell.rho is None) == (cell.rho_lo is None) == (cell.rho_hi is None)
    if cell.rho_lo is not None and cell.rho_hi is not None:
        assert -1 <= cell.rho_lo <= cell.rho_hi <= 1


def world(chance: np.random.Generator, cells: int, documents: int) -> tuple[Floats, Floats]:
    teacher = chance.integers(1, 11, (cells, documents)).astype(float)
    return teacher, np.clip(teacher + chance.integers(-2, 3, teacher.shape), 1, 10)


class Truth(NamedTuple):
    mae: float
    rho: float
    skill: float
    bias: float


def truth() -> Truth:
    """Of `world`, from very many documents."""
    (teacher,), (student,) = world(np.random.default_rng(1), 1, 200_000)
    mae, constant = np.abs(teacher - student).mean(), np.abs(teacher - np.median(teacher)).mean()
    return Truth(mae, scipy_rho(teacher, student), 1 - mae / constant, (student - teacher).mean())


def test_each_bound_holds_the_value_nine_times_in_ten() -> None:
    teacher, student = world(np.random.default_rng(0), 300, 200)
    true = truth()
    cells = agreements(teacher.T, student.T)
    rhos = [(cell.rho_lo or 0, cell.rho_hi or 0) for cell in cells]
    holds = {
        "mae_hi": np.mean([cell.mae_hi >= true.mae for cell in cells]),
        "mae_lo": np.mean([cell.mae_lo <= true.mae for cell in cells]),
        "bias_hi": np.mean([cell.bias_hi >= true.bias for cell in cells]),
        "skill_lo": np.mean([cell.skill_lo <= true.skill for cell in cells]),
        "rho_lo": np.mean([low <= true.rho for low, _ in rhos]),
        "rho_hi": np.mean([high >= true.rho for _, high in rhos]),
    }
    assert all(0.86 <= share <= 0.95 for share in holds.values()), holds


def test_copies_do_not_make_a_bound_narrower() -> None:
    teacher, student = world(np.random.default_rng(2), 200, 50)
    copied = [f"c{i % 50}" for i in range(200)]
    true = truth().mae
    sides = np.tile(teacher, 4).T, np.tile(student, 4).T
    told = np.mean([cell.mae_hi >= true for cell in agreements(*sides, copied)])
    blind = np.mean([cell.mae_hi >= true for cell in agreements(*sides)])
    assert 0.85 <= told <= 0.95
    assert blind < 0.8


def test_fifteen_dimensions_of_three_thousand_documents_take_seconds() -> None:
    chance = np.random.default_rng(3)
    teacher, student = world(chance, 3000, 15)
    started = time.process_time()
    assert len(agreements(teacher, student)) == 15
    assert time.process_time() - started < 5


def test_no_documents_no_cell() -> None:
    assert spearman([], []) is None
    with pytest.raises(ValueError, match="needs documents"):
        agreement([], [])
    with pytest.raises(ValueError, match="same length"):
        spearman([1, 2], [1])


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
        "clusters": 200,
        "skill_lo": 0.6,
        "skill_hi": 0.8,
        "bias_lo": -0.1,
        "bias_hi": 0.1,
    }
    return Agreement(200, **(good | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "own", "point"),
    [
        ({}, "reliable", True),
        ({"mae_hi": 1.0}, "undecided", True),
        ({"rho_lo": 0.3}, "undecided", True),
        ({"skill": 0.0}, "undecided", False),
        ({"mae": 1.2, "mae_hi": 1.4}, "undecided", False),
        ({"mae": 1.2, "mae_lo": 1.0, "mae_hi": 1.4}, "unreliable", False),
        ({"rho": 0.1, "rho_lo": 0.0, "rho_hi": 0.3}, "unreliable", False),
        ({"rho": None, "rho_lo": None, "rho_hi": None}, "no_variance", False),
        ({"clusters": DECIDABLE_CLUSTERS - 1}, "undecided", True),
        ({"clusters": 3, "rho": None, "rho_lo": None, "rho_hi": None}, "undecided", False),
    ],
)
def test_a_verdict_needs_its_bounds(values: dict[str, float | None], own: str, point: bool) -> None:
    found = cell(**values)
    assert own_verdict(found, LIMITS) == own
    assert passes(found.mae, found.rho, found.skill, LIMITS) == point


def test_a_constant_student_has_no_variance() -> None:
    assert own_verdict(agreement([1, 5, 9] * 20, [5] * 60), LIMITS) == "no_variance"


def test_a_point_estimate_of_thirty_documents_is_a_lottery_and_a_bound_is_not() -> None:
    """True rho 0.45 against a limit of 0.4: the value passes about 62 times in 100, the bounds decide wrongly in 10."""
    chance = np.random.default_rng(4)
    limits = MaskLimits(mae=9.0, rho=0.4)
    passed, said = 0, []
    latent = chance.multivariate_normal([0, 0], [[1, 0.466], [0.466, 1]], (500, 30))  # Pearson 0.466: Spearman 0.45
    for cell in agreements(latent[..., 0].T, latent[..., 1].T):
        found = cell._replace(skill=0.1)
        passed += passes(found.mae, found.rho, found.skill, limits)
        said.append(own_verdict(found, limits))
    assert 0.56 <= passed / 500 <= 0.68
    assert said.count("unreliable") / 500 <= 0.12
    assert said.count("undecided") / 500 >= 0.6
