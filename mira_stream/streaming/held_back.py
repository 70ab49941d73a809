"""What stands behind a transaction that is open: a reader of what is committed sees nothing of it. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from mira_stream.records import TopicPartition


class Held(NamedTuple):
    """`end`: of the log, what is open included. `seconds`: how long its last stable offset has stood still below that,
    as far as was looked, and so old at least is the oldest record behind it."""

    end: int
    seconds: float


class HeldBack:
    """Since when each partition's last stable offset stands below its end; exact to the distance of two looks."""

    def __init__(self) -> None:
        self._since: dict[TopicPartition, tuple[int, float]] = {}

    def look(
        self, stable: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], now_s: float
    ) -> dict[TopicPartition, Held]:
        """Those that are held back. `stable` was asked before `ends`: all partitions that are looked at."""
        since: dict[TopicPartition, tuple[int, float]] = {}
        for partition, offset in stable.items():
            if ends.get(partition, offset) > offset:
                before = self._since.get(partition)
                since[partition] = before if before is not None and before[0] == offset else (offset, now_s)
        self._since = since
        return {partition: Held(ends[partition], now_s - begun_s) for partition, (_, begun_s) in since.items()}
