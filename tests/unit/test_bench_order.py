"""The order in which the sides of a comparison take turns: none is favoured by its place or by whom it follows."""

from collections import Counter
from itertools import pairwise

import pytest

from mira_stream.benching.alternating import order


@pytest.mark.parametrize("count", range(1, 8))
def test_each_side_is_first_as_often_and_follows_each_other_one_as_often(count: int) -> None:
    sides = [f"side {number}" for number in range(count)]
    rounds = [order(sides, number) for number in range(count * (1 + count % 2))]
    assert all(sorted(one) == sides for one in rounds)
    assert len({*Counter(one[0] for one in rounds).values()}) == 1
    follows = Counter(pair for one in rounds for pair in pairwise(one))
    assert len(follows) == count * (count - 1)
    assert len({*follows.values()}) <= 1
