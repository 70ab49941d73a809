"""Borrowing from the group: limits of the formula, what it gains, and that its bounds hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.reliability.measure import Measured, Terms, measure
from mira_stream.reliability.metrics import agreement, passes
from mira_stream.reliability.shrink import QUANTILE, shrink
from mira_stream.reliability.table import Table
from mira_stream.sections import MaskLimits

values = st.lists(st.floats(-2, 2), min_size=2, max_size=6)


@given(values, st.floats(0.01, 1.0))
@settings(max_examples=100)
def test_a_shrunk_value_lies_between_its_own_and_the_groups(given: list[float], variance: float) -> None:
    y = np.array(given)[:, None]
    found = shrink(y, np.full_like(y, variance)).mean
    centre = y.mean()
    assert np.all((found - np.minimum(y, centre) > -1e-9) & (np.maximum(y, centre) - found > -1e-9))


def test_sources_that_do_not_differ_are_one_and_sources_that_do_stay_themselves() -> None:
    same = shrink(np.full((3, 1), 0.5), np.full((3, 1), 0.1))
    assert same.mean == pytest.approx(0.5)
    assert same.variance == pytest.approx(0.1 / 3)
    apart = shrink(np.array([[-9.0], [0.0], [9.0]]), np.full((3, 1), 0.01))
    assert apart.mean[:, 0] == pytest.approx([-9, 0, 9], abs=0.01)


def test_no_information_takes_the_groups_value_and_no_group_none() -> None:
    y, v = np.array([[0.4], [0.6], [np.nan]]), np.array([[0.1], [0.1], [np.inf]])
    assert shrink(y, v).mean[2, 0] == pytest.approx(0.5)
    assert np.isnan(shrink(np.array([[np.nan]]), np.array([[np.inf]])).mean).all()
    assert shrink(np.array([[0.7]]), np.array([[0.2]])).mean[0, 0] == pytest.approx(0.7)


@pytest.mark.parametrize(("sources", "between"), [(2, 0.1), (3, 0.1), (5, 0.2)])
def test_shrinking_halves_the_error_of_a_small_source_and_its_bound_holds(sources: int, between: float) -> None:
    chance = np.random.default_rng(sources)
    holds, error, raw = [], [], []
    for _ in range(500):
        truth = chance.normal(0.8, 0.2, 15) + chance.normal(0, between, (sources, 15))
        variance = np.full((sources, 15), 1 / 197)
        variance[0] = 1 / 27  # thirty documents
        y = truth + chance.normal(0, 1, truth.shape) * np.sqrt(variance)
        found = shrink(y, variance)
        holds.append(np.mean(truth[0] >= found.mean[0] - QUANTILE * np.sqrt(found.variance[0])))
        error.append(np.mean((found.mean[0] - truth[0]) ** 2))
        raw.append(np.mean((y[0] - truth[0]) ** 2))
    assert 0.84 <= np.mean(holds) <= 0.94
    assert np.mean(error) < 0.65 * np.mean(raw)


def latent(chance: np.random.Generator, source: str, count: int, rho: float) -> list[Measured]:
    """Spearman's rho of about `rho` in every dimension, on continuous scores (Pearson's is 2 sin(pi rho / 6)), from a
    student that guesses as boldly as it knows."""
    pearson = 2 * np.sin(np.pi * rho / 6)
    both = chance.multivariate_normal([0, 0], [[1, pearson], [pearson, 1]], (count, 15))
    scores = 5.5 + both * [1, pearson]
    return [
        Measured(f"{source}{i}", source, s[:, 0].tolist(), s[:, 1].tolist(), 50.0, "keep") for i, s in enumerate(scores)
    ]


def table(rows: list[Measured], rho: float) -> Table:
    terms = Terms(MaskLimits(mae=9.0, rho=rho), 0.1)
    return measure(rows, group="g", rubric="r", lineage="l", labels=b"", mode="scores", terms=terms)


@pytest.mark.parametrize(("true", "passing"), [(0.6, 1.0), (0.2, 0.0)])
def test_thirty_documents_beside_a_measured_group_are_no_lottery(true: float, passing: float) -> None:
    """Limit 0.4: of cells with true rho 0.6 (0.2) the value of thirty documents misjudges about one in ten, and
    together with the group's other source hardly any."""
    chance = np.random.default_rng(5)
    point, ours = [], []
    for number in range(6):
        small = latent(chance, f"small{number}", 30, true)
        cells = table([*small, *latent(chance, "large", 300, true)], 0.4).modes["scores"].sources[f"small{number}"]
        ours += [cell.verdict == "reliable" for cell in cells.dimensions.values()]
        for slot in range(15):
            found = agreement([row.scores[slot] for row in small], [row.student_scores[slot] for row in small])
            point.append(passes(found.mae, found.rho, 1.0, MaskLimits(mae=9.0, rho=0.4)))
    assert abs(np.mean(ours) - passing) <= 0.02
    assert abs(np.mean(point) - passing) >= 0.05
