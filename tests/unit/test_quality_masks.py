"""What centring, trimming and floors do to a selection: masks comparable, one wild score without weight, one fatal
flaw seen."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mira_stream.epochs import decide
from mira_stream.messages import SLOTS, Mark
from mira_stream.quality import judge, lens
from tests.unit.selecting_cards import mask

DOCUMENTS = 600


def corpus(seed: int) -> NDArray[np.float64]:
    """Scores of one source [documents, 15]: one quality behind all, dimensions that are easy and dimensions that are
    hard."""
    chance = np.random.default_rng(seed)
    level = np.linspace(4.5, 8.5, 15)[chance.permutation(15)]
    scores = level + chance.normal(0, 1, (DOCUMENTS, 1)) + chance.normal(0, 0.8, (DOCUMENTS, 15))
    return np.clip(np.round(scores), 1, 10)


def retained(scores: NDArray[np.float64], slots: tuple[str, ...], means: list[float], threshold: float) -> float:
    through = lens(mask(dimensions=list(slots), means=means))
    return float(np.mean([judge(row, through).quality > threshold for row in scores.tolist()]))


def difference(means_of: bool, seed: int) -> float:
    """Points of retention between two halves of one corpus under different 10-of-15 masks and one threshold."""
    scores = corpus(seed)
    first, second = scores[: DOCUMENTS // 2], scores[DOCUMENTS // 2 :]
    means = scores.mean(0).tolist() if means_of else [0.0] * 15
    chance = np.random.default_rng(seed)
    masks = [tuple(SLOTS[i] for i in sorted(chance.choice(15, 10, replace=False))) for _ in range(2)]
    threshold = 10 * float(scores.mean())
    # The same documents under both masks, so that the difference is the masks' alone.
    shares = [[retained(half, slots, means, threshold) for slots in masks] for half in (first, second)]
    return 100 * float(np.mean([abs(one - other) for one, other in shares]))


def test_different_masks_hardly_move_retention_once_dimensions_are_centred() -> None:
    plain = np.mean([difference(False, seed) for seed in range(12)])
    centred = np.mean([difference(True, seed) for seed in range(12)])
    assert plain > 8
    assert centred < 2.5
    assert plain > 5 * centred


def test_one_wild_score_of_ten_weighs_nothing_in_a_trimmed_mean() -> None:
    through = lens(mask(dimensions=SLOTS[:10], means=[0.0] * 15))
    even = [6.0] * 15
    for slot, other in combinations(range(10), 2):
        for wild in (1.0, 10.0):
            scores = [*even]
            scores[slot] = wild
            assert judge(scores, through).cell == judge(even, through).cell
            scores[other] = wild
            assert judge(scores, through).cell != judge(even, through).cell


def test_a_fatal_flaw_leaves_the_mean_and_falls_under_a_floor() -> None:
    """A dimension forced to 1 keeps most of the kept documents kept: that is what floors are for."""
    scores = corpus(3)
    means = scores.mean(0).tolist()
    through = lens(mask(dimensions=SLOTS, means=means))
    qualities = np.array([judge(row, through).quality for row in scores.tolist()])
    threshold = float(np.median(qualities))
    kept = scores[qualities > threshold]
    flawed = kept.copy()
    flawed[:, 10] = 1.0
    mark = Mark(value=threshold, tie_fraction=0.0)

    def selected(floors: dict[str, float]) -> float:
        judged = ((judge(row, through).quality, row) for row in flawed.tolist())
        return float(np.mean([decide("d", quality, row, floors, mark, mark, 0.5).selected for quality, row in judged]))

    assert selected({}) > 0.7
    assert selected({"A11": 3.0}) == 0
