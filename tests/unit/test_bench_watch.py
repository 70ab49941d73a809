"""The simulation behind the watch's claim, in small: it cries wolf far less than peeking does, and still notices."""

import pytest

from bench.watch_false_alarms import CHANGES, simulate, summary


@pytest.mark.parametrize("change", CHANGES)
def test_the_monitor_is_quiet_where_peeking_is_not_and_notices_a_change(change: str) -> None:
    found = simulate(seed=1, sources=6, labels=100, days=1, change=change)
    peeking, monitor = summary([found["naive"]]), summary([found["monitor"]])
    assert isinstance(peeking["false_looks_a_day"], float)
    assert peeking["false_looks_a_day"] > 50
    assert monitor["false_looks_a_day"] == 0
    delay = monitor["delay_hours_median"]
    assert delay is None if change == "none" else isinstance(delay, int) and 2 <= delay <= 6
