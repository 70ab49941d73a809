"""The intervals of `bench compare` by simulation: as often right as they say, and able to show what is there."""

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.random import Generator, default_rng

from mira_stream.benching.intervals import Ratio, compare, ratio
from mira_stream.benching.result import Run, Turn
from tests.unit.test_benching import run, turn

WINDOWS = (0, 0, 40, 45, 45, 45, 45, 45, 45, 90)
"""Documents by window of a closed loop: it fills, and ends in lumps."""
DOCUMENTS = sum(WINDOWS)


def closed_loop(seconds: float) -> Turn:
    shape = turn(DOCUMENTS / 10, windows=len(WINDOWS))
    parts = [
        replace(one, seconds=seconds / len(WINDOWS), documents=count, latency_ms=one.latency_ms if count else None)
        for one, count in zip(shape.windows, WINDOWS, strict=True)
    ]
    return replace(shape, documents=DOCUMENTS, dead_letters=0, seconds=seconds, windows=parts)


def loops(chance: Generator, repetitions: int, speed: float, noise: float) -> Run:
    """A run whose repetitions differ by `noise`."""
    return run([closed_loop(20 / speed * chance.lognormal(0, noise)) for _ in range(repetitions)])


def rate(a: Run, b: Run) -> Ratio:
    return compare(a, b).ratios[0]


@pytest.mark.parametrize(("repetitions", "fewest"), [(2, 0.8), (3, 0.99), (4, 0.99), (5, 1.0)])
def test_what_is_there_is_shown_and_nothing_else_is(repetitions: int, fewest: float) -> None:
    """B 15 % faster at 1 % of noise between repetitions, and not faster at all."""
    chance, count = default_rng(7), 300
    faster, alike = (
        [rate(loops(chance, repetitions, 1, 0.01), loops(chance, repetitions, speed, 0.01)) for _ in range(count)]
        for speed in (1.15, 1.0)
    )
    assert sum(one.shown for one in faster) >= fewest * count
    assert 0.005 * count <= sum(one.shown for one in alike) <= 0.08 * count
    assert all(not one.shown or one.ratio > 1 for one in faster)


@pytest.mark.parametrize("sides", [(2, 2), (3, 3), (5, 5), (20, 20), (2, 5), (2, 20), (5, 20)])
@pytest.mark.parametrize("spreads", [(0.02, 0.02), (0.1, 0.02), (0.3, 0.3)])
def test_the_interval_holds_the_truth_as_often_as_it_says(sides: tuple[int, int], spreads: tuple[float, float]) -> None:
    chance, pairs, held = default_rng(5), 1_000, 0
    means = np.exp(np.square(spreads) / 2)
    truth = 1.2 * means[1] / means[0]
    for _ in range(pairs):
        a, b = (
            factor * chance.lognormal(0, spread, count)
            for factor, spread, count in zip((100, 120), spreads, sides, strict=True)
        )
        found = ratio("x", a.tolist(), b.tolist())
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert held / pairs >= (0.935 if sides[0] == sides[1] >= 3 else 0.905)
    if sides[0] == sides[1] >= 3:
        assert held / pairs <= 0.98, "wider than it says shows less than it could"
