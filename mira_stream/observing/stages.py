"""Where the stream is full, why, and since when: the rules, stage by stage.

A full stage makes all before it wait, so the bottleneck is the full stage nearest to the end of the row: the first
one that is met against the flow.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from mira_stream.observing.snapshot import StageName, State

FULL_FILL: Final = 0.98
FULL_WAITING: Final = 0.5
"""Share of time without room from which a stage counts as full."""
STILL_FULL_FILL: Final = 0.9
STILL_FULL_WAITING: Final = 0.2
"""A full stage stays full down to these, so that a limit that is reached again and again is one episode."""
BUSY_FILL: Final = 0.7
BUSY_WAITING: Final = 0.05
THROTTLED: Final = 1.0
PAUSED: Final = 2.0


class Reading(NamedTuple):
    """What was measured of a stage. `heard`: whether anybody answered; `missing`: who should have and did not.
    `pressed`: mira_backpressure_state. `full`: reasons of its own to be full, whatever its fill."""

    heard: bool
    missing: str = ""
    rate_in: float | None = None
    rate_out: float | None = None
    fill: float | None = None
    waiting: float | None = None
    pressed: float | None = None
    full: str = ""
    cause: str = ""
    backlog: int | None = None
    backlog_s: float | None = None


class Standing(NamedTuple):
    """The state a stage is in, why, and since when."""

    state: State
    cause: str
    since_ms: int


def state_of(reading: Reading, before: State | None) -> State:
    """`before`: its state at the last look."""
    if not reading.heard:
        return "down" if reading.missing else "unknown"
    fill, waiting, pressed = reading.fill or 0.0, reading.waiting or 0.0, reading.pressed or 0.0
    held = before == "full"
    if (
        reading.full
        or pressed >= PAUSED
        or fill >= (STILL_FULL_FILL if held else FULL_FILL)
        or waiting >= (STILL_FULL_WAITING if held else FULL_WAITING)
    ):
        return "full"
    if reading.missing or pressed >= THROTTLED or fill >= BUSY_FILL or waiting >= BUSY_WAITING:
        return "busy"
    return "free"


def stand(reading: Reading, before: Standing | None, now_ms: int, *, broker_away: bool = False) -> Standing:
    """The standing now; `since_ms` stays while the state does. Without a broker nothing flows, whatever its last rates
    were."""
    state = state_of(reading, None if before is None else before.state)
    if broker_away and state == "free":
        state, reading = "unknown", reading._replace(cause="the broker is away")
    since_ms = before.since_ms if before is not None and before.state == state else now_ms
    return Standing(state, reading.missing or reading.full or reading.cause, since_ms)


def bottleneck(states: Sequence[tuple[StageName, State]]) -> StageName | None:
    """`states` in the direction of the flow. A stage that is down counts as full: nothing goes through it."""
    return next((name for name, state in reversed(states) if state in ("full", "down")), None)


def largest(values: Mapping[str, float]) -> tuple[str, float] | None:
    """The key of the largest value; None if there is none above zero."""
    if not values:
        return None
    key = max(values, key=lambda one: values[one])
    return (key, values[key]) if values[key] > 0 else None
