"""The bench of the cascade on the demo: what it makes of documents that were judged."""

from math import isnan

import numpy as np
import pytest

from bench.cascade_demo import Judged, evaluate
from tests.unit.test_cascade import THROUGH, fifteen

pytestmark = pytest.mark.models


def test_the_demo_bench_measures_what_it_is_given() -> None:
    """On made-up documents: a cheap stage that says the same loses nothing, one that guesses is sent on."""
    chance = np.random.default_rng(1)
    levels = chance.uniform(2, 9, 300)
    same, guessed = (
        [
            Judged(f"d{at}", 100, *(fifteen(10 * one) for one in (level, level, other)))
            for at, (level, other) in enumerate(zip(levels.tolist(), others.tolist(), strict=True))
        ]
        for others in (levels, chance.uniform(2, 9, 300))
    )
    best, worst = (evaluate(rows, THROUGH, 0.4, 0.05) for rows in (same, guessed))
    assert (best["loss"], best["gain"], best["alone"]) == (0.0, 1.0, 1.0)
    assert best["savings"] > 10
    assert worst["alone"] < 0.3
    assert worst["loss"] <= 0.05
    assert worst["sent"] > 0.7


def test_documents_of_one_quality_have_no_gain_and_no_error() -> None:
    """Few documents may all be of one class: nothing is selected from them then."""
    level = fifteen(60.0)
    found = evaluate([Judged(f"d{at}", 100, level, level, level) for at in range(20)], THROUGH, 0.4, 0.05)
    assert isnan(found["gain"])
    assert found["loss"] == 0.0
