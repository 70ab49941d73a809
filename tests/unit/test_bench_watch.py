"""The simulation behind the watch's claim, in small: it cries wolf far less than peeking does, and still notices."""

import pytest

from bench.watch_false_alarms import CHANGES, Counted, simulate, standing_hours, summary
from mira_stream.messages import SLOTS
from mira_stream.reliability.monitor import HOUR_MS, Event, Unit


@pytest.mark.parametrize("change", CHANGES)
def test_the_monitor_is_quiet_where_peeking_is_not_and_notices_a_change(change: str) -> None:
    found = simulate(seed=1, sources=6, labels=100, days=1, change=change)
    peeking, monitor = summary([found["naive"]]), summary([found["monitor"]])
    assert isinstance(peeking["false_looks_a_day"], float)
    assert peeking["false_looks_a_day"] > 50
    assert monitor["false_looks_a_day"] == 0
    delay = monitor["delay_hours_median"]
    assert delay is None if change == "none" else isinstance(delay, int) and 2 <= delay <= 6


def test_delays_have_a_median_in_their_middle_and_an_alarm_stands_until_it_is_cleared() -> None:
    assert summary([Counted(0, 0, 24, delay) for delay in (1, 9, 1, 9)])["delay_hours_median"] == 5
    unit = Unit("s0", "l", "m", "t")
    events = [
        Event(hour * HOUR_MS, unit, slot, "unreliable", raised)
        for hour, slot, raised in ((2, SLOTS[0], True), (5, SLOTS[0], False), (9, SLOTS[1], True), (11, SLOTS[2], True))
    ]
    assert standing_hours(events, 10) == 3 + 2
