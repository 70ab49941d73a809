"""When a stage stands still though it should not. Pure: `now` is passed in."""

from typing import Final, Literal, NamedTuple

UNASSIGNED_S: Final = 60.0
STILL_S: Final = 60.0

Stall = Literal["unassigned", "no_progress"]
STALLS: Final[tuple[Stall, ...]] = ("unassigned", "no_progress")
WHY: Final[dict[Stall, str]] = {
    "unassigned": "no partition has been assigned: the consumer group has more members than partitions, or cannot form",
    "no_progress": "there is work and nothing has been committed: look at the engine, the broker and the log above",
}


class Facts(NamedTuple):
    """`behind`: something waits to be read, or was read and is not committed. `commits`: a count that only grows."""

    assigned: int
    behind: bool
    commits: int


class Stalls:
    """`look` is called every few seconds."""

    def __init__(self, now: float) -> None:
        self._assigned_s = now
        self._progress_s = now
        self._commits = 0

    def look(self, facts: Facts, now: float) -> frozenset[Stall]:
        if facts.assigned:
            self._assigned_s = now
        if facts.commits != self._commits or not facts.behind or not facts.assigned:
            self._commits, self._progress_s = facts.commits, now
        found: set[Stall] = set()
        if now - self._assigned_s >= UNASSIGNED_S:
            found.add("unassigned")
        if now - self._progress_s >= STILL_S:
            found.add("no_progress")
        return frozenset(found)
