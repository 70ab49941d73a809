"""The benchmark of `produce http` in small: every side commits what was posted, whatever its speed."""

import pytest

from bench.posting import SIDES, measure

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


async def test_every_side_commits_documents() -> None:
    (sides,) = (await measure([2], 0.5, 1)).values()
    assert tuple(sides) == SIDES
    for turns in sides.values():
        (turn,) = turns
        assert turn.rate > 0
        assert turn.p50_ms <= turn.p99_ms
    assert sides["transactions"][0].a_transaction == 2
    assert 1 <= sides["gathering"][0].a_transaction <= 2
