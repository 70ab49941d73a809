"""Weighted agreement of one window: known values, and bounds that hold as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mira_stream.reliability.windows import cell_window, weighted_spearman
from mira_stream.sections import MaskLimits

LIMITS = MaskLimits()
SCORES = st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=5, max_size=40)


@given(SCORES)
def test_equal_weights_give_the_plain_measures(pairs: list[tuple[int, int]]) -> None:
    teacher, student = np.array(pairs, float).T
    cell = cell_window(teacher, student, np.full(len(pairs), 50.0), LIMITS, 2)
    assert cell.mae == pytest.approx(np.abs(teacher - student).mean())
    assert cell.n_eff == pytest.approx(len(pairs))
    if np.ptp(teacher) and np.ptp(student):
        assert cell.rho == pytest.approx(spearmanr(teacher, student)[0])
    else:
        assert cell.rho is None


@given(SCORES, st.lists(st.integers(1, 4), min_size=40, max_size=40))
def test_a_weight_of_k_is_k_documents(pairs: list[tuple[int, int]], weights: list[int]) -> None:
    teacher, student = np.array(pairs, float).T
    weight = np.array(weights[: len(pairs)])
    once = cell_window(teacher, student, weight.astype(float), LIMITS, 2)
    repeated = cell_window(np.repeat(teacher, weight), np.repeat(student, weight), np.ones(weight.sum()), LIMITS, 2)
    assert once.mae == pytest.approx(repeated.mae)
    assert (once.rho is None) == (repeated.rho is None)
    assert once.rho is None or once.rho == pytest.approx(repeated.rho)
    assert once.n_eff <= once.n


def test_scores_that_one_side_lacks_are_left_out() -> None:
    teacher, student = np.array([1.0, np.nan, 5.0, 7.0]), np.array([1.0, 4.0, np.nan, 8.0])
    cell = cell_window(teacher, student, np.ones(4), LIMITS, 2)
    assert (cell.n, cell.mae) == (2, 0.5)
    assert cell_window(teacher[:2], student[:2], np.ones(2), LIMITS, 2).mae is None


def test_too_few_labels_say_nothing_either_way() -> None:
    teacher = np.tile([2.0, 9.0], 30)
    cell = cell_window(teacher, 11 - teacher, np.ones(60), LIMITS, 100)
    assert (cell.p_unreliable, cell.p_reliable) == (1.0, 1.0)
    assert cell_window(teacher, 11 - teacher, np.ones(60), LIMITS, 60).p_unreliable < 1e-6


def test_a_student_that_always_says_the_same_is_no_good_and_a_teacher_that_does_tells_nothing() -> None:
    varied, same = np.tile([4.0, 5.0, 6.0], 50), np.full(150, 5.0)
    constant_student = cell_window(varied, same, np.ones(150), LIMITS, 100)
    assert constant_student.rho is None
    assert constant_student.p_unreliable < 0.01
    constant_teacher = cell_window(same, varied, np.ones(150), LIMITS, 100)
    assert constant_teacher.p_unreliable > 0.5
    assert constant_teacher.p_reliable == 1.0


def test_a_student_worse_than_a_constant_answer_is_not_spoken_for_though_it_ranks() -> None:
    """Teacher's scores on a narrow scale: MAE and rho are within the limits, and the median errs less."""
    chance = np.random.default_rng(6)
    teacher = np.clip(np.round(chance.normal(6, 0.6, 400)), 1, 10)
    narrow = np.clip(np.round(teacher + chance.normal(0, 1.0, 400)), 1, 10)
    cell = cell_window(teacher, narrow, np.ones(400), LIMITS, 100)
    assert cell.mae_hi is not None and cell.mae_hi < LIMITS.mae  # noqa: PT018
    assert cell.rho_lo is not None and cell.rho_lo > LIMITS.rho  # noqa: PT018
    assert np.abs(teacher - 6).mean() < (cell.mae or 0.0)
    assert cell.p_reliable > 0.9
    assert cell.p_unreliable > 0.1
    wide = np.clip(np.round(chance.normal(6, 2, 400)), 1, 10)
    student = np.clip(wide + chance.normal(0, 0.8, 400), 1, 10)
    assert cell_window(wide, student, np.ones(400), LIMITS, 100).p_reliable < 1e-6


def test_every_document_off_by_the_same_is_certain() -> None:
    teacher = np.tile(np.arange(1.0, 9.0), 20)
    assert cell_window(teacher, teacher + 2, np.ones(160), LIMITS, 100).p_unreliable == 0.0
    assert cell_window(teacher, teacher, np.ones(160), LIMITS, 100).p_reliable < 1e-6


def test_bounds_of_a_weighted_sample_hold_nine_times_in_ten() -> None:
    """A population with an easy and a hard part, the hard one sampled ten times as densely."""
    chance = np.random.default_rng(3)
    size = 40_000
    hard = chance.random(size) < 0.1
    teacher = np.clip(np.round(chance.normal(6, 2, size)), 1, 10)
    student = np.clip(np.round(teacher + chance.normal(0, np.where(hard, 2.0, 0.8), size)), 1, 10)
    mae, rho = np.abs(teacher - student).mean(), spearmanr(teacher, student)[0]
    inclusion = np.where(hard, 0.03, 0.003)
    held = np.zeros(4)
    rounds = 400
    for _ in range(rounds):
        taken = chance.random(size) < inclusion
        cell = cell_window(teacher[taken], student[taken], 1 / inclusion[taken], LIMITS, 2)
        assert cell.mae_lo is not None and cell.mae_hi is not None  # noqa: PT018
        assert cell.rho_lo is not None and cell.rho_hi is not None  # noqa: PT018
        held += [cell.mae_lo <= mae, cell.mae_hi >= mae, cell.rho_lo <= rho, cell.rho_hi >= rho]
    assert (held / rounds > 0.85).all(), held / rounds
    assert (held / rounds < 0.98).all(), held / rounds


def test_unweighted_the_same_sample_would_be_wrong() -> None:
    chance = np.random.default_rng(4)
    easy, hard = np.zeros(2_000), np.full(2_000, 2.0)
    teacher = chance.integers(3, 9, 4_000).astype(float)
    student = teacher + np.concatenate([easy, hard])
    weights = np.concatenate([np.full(2_000, 10.0), np.full(2_000, 1.0)])
    assert cell_window(teacher, student, weights, LIMITS, 2).mae == pytest.approx(2 / 11)


def test_rank_correlation_of_nothing_is_none() -> None:
    assert weighted_spearman(np.array([1.0, 1.0]), np.array([1.0, 2.0]), np.ones(2)) is None
