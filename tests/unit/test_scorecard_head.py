"""What is read out of a head's numbers: points within bounds, or nothing at all."""

from math import inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.messages import SLOTS
from mira_stream.scorecard import OUTPUTS, read_outputs

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=16, max_size=16))
def test_finite_outputs_are_scores_within_bounds_and_what_was_cut_is_named(outputs: list[float]) -> None:
    reading = read_outputs(outputs)
    assert reading.complete
    assert reading.overall is not None
    for name, raw, score in zip(SLOTS, outputs, reading.scores, strict=False):
        assert score is not None
        assert 0 <= score <= 10
        if 0 <= raw <= 10:
            assert abs(score - raw) <= 0.00005
        assert (f"clipped:{name}" in reading.repairs) == (not 0 <= raw <= 10)
    assert 0 <= reading.overall <= 100
    assert reading.overall == int(reading.overall)
    assert (reading.recommendation, reading.domain_tag, reading.brief) == (None, None, None)


@given(
    st.lists(FINITE, min_size=16, max_size=16),
    st.dictionaries(st.integers(0, 15), st.sampled_from([nan, inf, -inf]), min_size=1),
)
def test_one_output_that_is_no_number_leaves_nothing(outputs: list[float], wrong: dict[int, float]) -> None:
    for index, value in wrong.items():
        outputs[index] = value
    reading = read_outputs(outputs)
    assert (reading.read, reading.overall) == (0, None)
    assert reading.repairs == [
        f"not_a_number:{name}" for name, value in zip(OUTPUTS, outputs, strict=True) if not isfinite(value)
    ]


@pytest.mark.parametrize("count", [0, 1, 15, 17])
def test_another_number_of_outputs_leaves_nothing(count: int) -> None:
    reading = read_outputs([5.0] * count)
    assert (reading.read, reading.overall, reading.repairs) == (0, None, ["outputs"])
