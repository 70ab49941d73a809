"""Quality against the same formula in rational numbers."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.errors import DocumentError
from mira_stream.messages import SLOTS
from mira_stream.quality import judge, lens, trimmed_mean
from tests.unit.selecting_cards import mask

whole_scores = st.lists(st.one_of(st.none(), st.integers(1, 10).map(float)), min_size=15, max_size=15)
means = st.lists(st.integers(10, 100).map(lambda tenths: tenths / 10), min_size=15, max_size=15)
slots = st.sets(st.sampled_from(SLOTS), min_size=3).map(sorted)


def exact(scores: list[float | None], dimensions: list[str], centring: list[float], trim: Fraction) -> Fraction:
    """The formula in rational numbers; scores and means have one decimal."""
    tenths = [Fraction(round(10 * mean), 10) for mean in centring]
    left = sorted(
        Fraction(round(10 * score), 10) - tenths[i]
        for i, score in enumerate(scores)
        if score is not None and SLOTS[i] in dimensions
    )
    cut = trim * len(left)
    kept = [max(Fraction(0), min(Fraction(i + 1), len(left) - cut) - max(Fraction(i), cut)) for i in range(len(left))]
    mean = sum((w * d for w, d in zip(kept, left, strict=True)), Fraction(0)) / sum(kept)
    return 10 * (mean + sum(tenths, Fraction(0)) / 15)


@given(whole_scores, slots, means)
def test_quality_is_the_formula_rounded_half_to_even(
    scores: list[float | None], dimensions: list[str], centring: list[float]
) -> None:
    used = [slot for slot, score in zip(SLOTS, scores, strict=True) if slot in dimensions and score is not None]
    through = lens(mask(dimensions=dimensions, means=centring))
    if len(used) < 3:
        with pytest.raises(DocumentError) as refusal:
            judge(scores, through)
        assert refusal.value.reason == "no_reliable_score"
        return
    found = judge(scores, through)
    wanted = exact(scores, dimensions, centring, Fraction(1, 10))
    assert found.cell == min(1000, max(0, round(10 * wanted)))
    assert found.quality == float(f"{found.quality:.1f}")
    assert list(found.dimensions_used) == used


@given(whole_scores.filter(lambda scores: scores.count(None) < 12), st.randoms())
def test_order_of_equal_dimensions_never_matters(scores: list[float | None], rng: object) -> None:
    through = lens(mask(means=[5.5] * 15))
    shuffled = sorted(scores, key=lambda _: rng.random())  # type: ignore[attr-defined]
    assert judge(scores, through).cell == judge(shuffled, through).cell


def test_trimming_takes_weight_in_fractions_from_each_end() -> None:
    assert trimmed_mean([0.0, 1.0, 2.0, 3.0, 100.0], 0.1) == (0.5 * 0 + 1 + 2 + 3 + 0.5 * 100) / 4
    assert trimmed_mean([1.0, 2.0, 3.0], 0.0) == 2.0
    assert trimmed_mean([5.0], 0.49) == 5.0


def test_without_means_it_is_the_plain_trimmed_mean_times_ten() -> None:
    through = lens(mask(means=[0.0] * 15, trim=0.0))
    assert judge([float(n % 10 + 1) for n in range(15)], through).quality == 46.7


def test_centring_makes_masks_comparable() -> None:
    centring = [3.0] * 7 + [8.0] * 8
    average: list[float | None] = list(centring)
    low = judge(average, lens(mask(dimensions=SLOTS[:7], means=centring)))
    high = judge(average, lens(mask(dimensions=SLOTS[7:], means=centring)))
    assert low.quality == high.quality == 56.7


def test_qualities_are_clipped() -> None:
    top = lens(mask(dimensions=SLOTS[:3], means=[0.0] * 3 + [10.0] * 12))
    assert judge([10.0] * 15, top).quality == 100.0
    bottom = lens(mask(dimensions=SLOTS[:3], means=[10.0] * 3 + [0.0] * 12))
    assert judge([1.0] * 15, bottom).quality == 0.0


def test_a_score_of_zero_is_a_score_and_null_is_none() -> None:
    through = lens(mask(means=[0.0] * 15, dimensions=SLOTS[:3]))
    assert judge([0.0] * 15, through).quality == 0.0
    with pytest.raises(DocumentError, match="2 of 3 reliable dimensions have a score, 3 are needed"):
        judge([None, 1.0, 1.0, *[10.0] * 12], through)


@pytest.mark.parametrize(("scores", "quality"), [([6.25] * 3, 62.5), ([6.225] * 3, 62.2), ([6.235] * 3, 62.4)])
def test_half_goes_to_the_even_tenth(scores: list[float], quality: float) -> None:
    through = lens(mask(means=[0.0] * 15, dimensions=SLOTS[:3]))
    assert judge([*scores, *[None] * 12], through).quality == quality
