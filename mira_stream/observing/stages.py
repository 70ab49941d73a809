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
HELD_MS: Final = 10_000
"""A stage that is full no more counts as full for so long yet (rates are means over as much): a dip ends no episode."""
THROTTLED: Final = 1.0
PAUSED: Final = 2.0
BROKER_AWAY: Final = "the broker is away"


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


class Episode(NamedTuple):
    """A time of being full: since when, when it was last seen to be, and why then."""

    since_ms: int
    seen_ms: int
    cause: str


class Standing(NamedTuple):
    """The state a stage is in, why, and since when. `episode`: the last time it was full, if that is not long over."""

    state: State
    cause: str
    since_ms: int
    episode: Episode | None = None


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
    """The standing now; `since_ms` stays while the state does, and over dips of up to `HELD_MS`. Without a broker
    nothing flows, whatever its last rates and limits were: only what is down by itself has a cause of its own."""
    state = state_of(reading, None if before is None else before.state)
    cause = reading.missing or reading.full or reading.cause
    if broker_away and state != "down":
        state, cause = "unknown", BROKER_AWAY
    episode = None if before is None else before.episode
    if episode is not None and now_ms - episode.seen_ms >= HELD_MS:
        episode = None
    if state == "full":
        episode = Episode(now_ms if episode is None else episode.since_ms, now_ms, cause)
    elif state in ("free", "busy") and episode is not None:
        state, cause = "full", episode.cause
    if state == "full" and episode is not None:
        return Standing(state, cause, episode.since_ms, episode)
    since_ms = before.since_ms if before is not None and before.state == state else now_ms
    return Standing(state, cause, since_ms, episode)


def bottleneck(states: Sequence[tuple[StageName, State]]) -> StageName | None:
    """`states` in the direction of the flow. A stage that is down counts as full: nothing goes through it."""
    return next((name for name, state in reversed(states) if state in ("full", "down")), None)


def largest(values: Mapping[str, float]) -> tuple[str, float] | None:
    """The key of the largest value; None if there is none above zero."""
    if not values:
        return None
    key = max(values, key=lambda one: values[one])
    return (key, values[key]) if values[key] > 0 else None
