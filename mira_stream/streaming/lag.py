"""How far a stage is behind: in offsets, in seconds by the oldest unread record's own time, and against retention."""

from typing import Final, Literal, NamedTuple

import structlog

from mira_stream.clock import Monotonic
from mira_stream.errors import DataLossError, DependencyError
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.held_back import Held
from mira_stream.streaming.lane import Lane
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.positions import PEEK_OFFSETS

log: Final = structlog.get_logger("mira_stream.runner")

PEEK_S: Final = 10.0
"""So often at most a partition's next record is read for its time alone, while others are read, or while none is
admitted: a broker sends the whole batch that it is in, up to 256 KiB of ours."""
RETENTION_S: Final = 60.0
"""So often a topic's retention is asked for."""
WARN_BELOW: Final = 0.5
ERROR_BELOW: Final = 0.2

Level = Literal["", "warning", "error"]


class Behind(NamedTuple):
    """One partition. `seconds`: age of its oldest unread record, 0 if there is none. `headroom`: the share of the
    topic's retention that is left to it; None if its records are kept for ever, or that is not known."""

    partition: TopicPartition
    records: int
    seconds: float
    headroom: float | None
    span: int
    ranges: int


def headroom(age_s: float, retention_ms: int | None) -> float | None:
    """1 for a record of now, 0 when it may be deleted."""
    return None if retention_ms is None or retention_ms <= 0 else max(0.0, 1.0 - age_s * 1000 / retention_ms)


def level_of(left: float | None) -> Level:
    """How a person should hear of it."""
    return "" if left is None or left >= WARN_BELOW else "warning" if left >= ERROR_BELOW else "error"


class _Seen(NamedTuple):
    """`peeked_s`: when the partition was last read for the time of its next record; `stood_s`: when it was first seen
    at `position`. `records`: of the offsets before `end`, those that hold one; None if they were not counted."""

    position: int
    end: int
    stamp_ms: int | None
    peeked_s: float
    stood_s: float
    records: int | None = None


class Retentions:
    """Topics' retention, asked for every RETENTION_S at most."""

    def __init__(self, broker: Broker, now: Monotonic) -> None:
        self._broker = broker
        self._now = now
        self._known: dict[str, tuple[float, int | None]] = {}

    async def of(self, topic: str) -> int | None:
        """In ms; None if records are kept for ever, or if that is not known."""
        asked_s, known = self._known.get(topic, (-RETENTION_S, None))
        if topic in self._known and self._now() - asked_s < RETENTION_S:
            return known
        try:
            known = await self._broker.retention_ms(topic)
        except DependencyError as error:
            if topic not in self._known:
                log.warning("retention unknown", topic=topic, error=str(error))
        self._known[topic] = (self._now(), known)
        return known


class LagMeter:
    """Measures the lanes of one stage. While records flow, the last one read tells the time of the next, also where
    the stage itself lets a partition wait for a moment; where one stands, its next record is read once. What stands
    there may be markers of transactions alone: nothing waits then."""

    def __init__(self, reader: LogReader, broker: Broker, now: Monotonic) -> None:
        self._reader = reader
        self._retentions = Retentions(broker, now)
        self._now = now
        self._seen: dict[TopicPartition, _Seen] = {}
        self._levels: dict[TopicPartition, Level] = {}

    async def measure(self, lane: Lane, now_ms: int, held: Held | None = None) -> Behind:
        """By the lane's `bounds`, as last seen, and by what an open transaction holds back behind them."""
        partition, end = lane.partition, lane.bounds[1]
        waiting = max(0, end - lane.position)
        stamp_ms = await self._oldest_ms(lane, end) if waiting else None
        seen = self._seen.get(partition)
        if waiting and seen is not None and (seen.position, seen.end) == (lane.position, end):
            waiting = waiting if seen.records is None else seen.records
        age_s = 0.0 if stamp_ms is None else max(0.0, (now_ms - stamp_ms) / 1000)
        if held is not None:
            waiting, age_s = max(waiting, held.end - lane.position), max(age_s, held.seconds)
        left = headroom(age_s, await self._retentions.of(partition.topic))
        self._tell(partition, left, age_s)
        return Behind(partition, waiting, age_s, left, lane.span.width, lane.span.ranges)

    def forget(self, kept: set[TopicPartition]) -> None:
        """Partitions that are not ours any more."""
        for partition in self._seen.keys() - kept:
            del self._seen[partition]
        for partition in self._levels.keys() - kept:
            del self._levels[partition]

    async def _oldest_ms(self, lane: Lane, end: int) -> int | None:
        position, now, partition = lane.position, self._now(), lane.partition
        seen = self._seen.get(partition)
        if seen is not None and seen.position == position and seen.stamp_ms is not None:
            return seen.stamp_ms
        stands = seen is not None and (seen.position, seen.end) == (position, end)
        if stands and seen is not None and seen.records == 0:
            return None
        recent = seen is not None and now - seen.peeked_s < PEEK_S
        flows = seen is not None and seen.position != position
        stood_s = now if seen is None or flows else seen.stood_s
        held_up = (lane.paused or lane.crowded) and now - stood_s < PEEK_S
        if lane.stamp_ms is not None and (flows or held_up or (recent and not stands)):
            self._seen[partition] = _Seen(position, end, None, -PEEK_S if seen is None else seen.peeked_s, stood_s)
            return lane.stamp_ms
        look = min(end, position + PEEK_OFFSETS)
        try:
            found = [record.timestamp_ms async for record in self._reader.read(partition, position, look)]
        except (DependencyError, DataLossError):  # whoever reads it in earnest will say so
            return lane.stamp_ms
        stamp_ms = found[0] if found else None
        self._seen[partition] = _Seen(position, end, stamp_ms, now, stood_s, len(found) if look == end else None)
        return stamp_ms

    def _tell(self, partition: TopicPartition, left: float | None, age_s: float) -> None:
        level = level_of(left)
        if level == self._levels.get(partition, ""):
            return
        self._levels[partition] = level
        said = {"partition": f"{partition.topic}/{partition.partition}", "oldest_unread_s": round(age_s)}
        if level:
            fix = "add scorers or engines, or raise the topic's retention.ms"
            getattr(log, level)(
                "retention nears the oldest unread record", headroom=round(left or 0.0, 3), do=fix, **said
            )
        else:
            log.info("retention is far from the oldest unread record again", **said)
