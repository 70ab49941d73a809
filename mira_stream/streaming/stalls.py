"""When a stage, or one partition of it, stands still though it should not. Pure: `now` is passed in.

What a partition has in flight waits for its turn behind what the others have. So where others flow it is stuck only
when they have overtaken it: since it began to wait, twice as many of their records were committed as were then before
its own. Where nothing flows at all, a minute is enough.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from mira_stream.records import TopicPartition

UNASSIGNED_S: Final = 60.0
STILL_S: Final = 60.0
OVERTAKEN: Final = 2
"""Records differ in length, and engines do not keep their order."""

Stall = Literal["unassigned", "no_progress"]
STALLS: Final[tuple[Stall, ...]] = ("unassigned", "no_progress")
WHY: Final[dict[Stall, str]] = {
    "unassigned": "no partition has been assigned: the consumer group has more members than partitions, or cannot form",
    "no_progress": "there is work and nothing has been committed: look at the engine, the broker and the log above",
}


class Facts(NamedTuple):
    """One partition. `waits`: something of it should be read, worked on or committed, or its lane opened. `in_flight`:
    records admitted and not committed. `moves`: a count of transactions that brought it on; it only grows."""

    waits: bool
    in_flight: int
    moves: int


class Found(NamedTuple):
    """`stuck`: the partitions without progress; none if that is not a cause."""

    causes: frozenset[Stall]
    stuck: frozenset[TopicPartition]


class _Wait(NamedTuple):
    """Since when a partition waits. `ahead`, `done`: when it first had something in flight, what the others had, and
    what the stage had committed; None before that."""

    since_s: float
    moves: int
    ahead: int | None = None
    done: int = 0


class Stalls:
    """`look` is called every few seconds."""

    def __init__(self, now: float) -> None:
        self._assigned_s = now
        self._moved_s = now
        self._waits: dict[TopicPartition, _Wait] = {}

    def look(self, assigned: int, partitions: Mapping[TopicPartition, Facts], done: int, now: float) -> Found:
        """`assigned`: partitions dealt to the stage. `partitions`: these, and others it still has. `done`: a count of
        records that the stage has committed; it only grows."""
        if assigned:
            self._assigned_s = now
        in_flight = sum(facts.in_flight for facts in partitions.values())
        before = self._waits
        self._waits = {
            partition: _go_on(before.get(partition), facts, in_flight - facts.in_flight, done, now)
            for partition, facts in partitions.items()
        }
        moved = any(before[one].moves != wait.moves for one, wait in self._waits.items() if one in before)
        if moved or not any(facts.waits for facts in partitions.values()):
            self._moved_s = now
        nothing_flows = now - self._moved_s >= STILL_S
        stuck = frozenset(
            partition
            for partition, wait in self._waits.items()
            if now - wait.since_s >= STILL_S and (nothing_flows or _is_overtaken(wait, done))
        )
        causes: set[Stall] = {"no_progress"} if stuck else set()
        if now - self._assigned_s >= UNASSIGNED_S:
            causes.add("unassigned")
        return Found(frozenset(causes), stuck)


def _go_on(wait: _Wait | None, facts: Facts, others: int, done: int, now: float) -> _Wait:
    if wait is None or not facts.waits or facts.moves != wait.moves:
        wait = _Wait(now, facts.moves)
    if facts.in_flight and wait.ahead is None:
        wait = wait._replace(ahead=others, done=done)
    return wait


def _is_overtaken(wait: _Wait, done: int) -> bool:
    return wait.ahead is None or done - wait.done >= OVERTAKEN * wait.ahead
