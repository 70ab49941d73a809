"""What became of each document, by origin: a few bytes a document, whatever the number of documents.

A topic that was deleted and made anew has other documents at the same offsets. What came of the earlier ones is told
by their time: an origin names it, and all that is there came later.
"""

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mira_stream.audit.earlier import Earlier
from mira_stream.messages import Origin
from mira_stream.records import TopicPartition
from mira_stream.streaming.written_off import offsets_in

DOCUMENT: Final = 1
CARD: Final = 2
DECISION: Final = 4
LETTER: Final = 8
AGGREGATE: Final = 16
"""The dead letter is the aggregator's."""
SELECTED: Final = 32
UNEXPORTED: Final = 64
"""The exporter has not committed the decision yet."""
SCORES_ROW: Final = 128
KEPT_ROW: Final = 256
WAITS: Final = 512
"""The document's card, or the document itself, lies behind what the next stage has committed."""
DOUBLED: Final = 1024
GIVEN_UP: Final = 2048
"""Its rows were given up with --accept-loss."""

Where = Literal["known", "unknown", "before", "after", "earlier"]


class Ground:
    """One partition of a documents topic: flags, the hash of the outcome's bytes and of its exported row, by offset."""

    def __init__(self, partition: TopicPartition, first: int, end: int) -> None:
        self.partition = partition
        self.first = first
        self.end = end
        size = max(0, end - first)
        self.flags = array("H", bytes(2 * size))
        self.outcomes = array("Q", bytes(8 * size))
        self.rows = array("Q", bytes(8 * size))
        self.begins_ms: int | None = None
        """Time of the oldest document that is there."""
        self.is_anew = False
        """Something came of documents of an earlier topic."""
        self.earlier_cards = 0
        """Cards under this offset were of an earlier topic's documents."""

    def document(self, offset: int, timestamp_ms: int) -> None:
        """A document is there."""
        self.mark(offset, DOCUMENT)
        self.begins_ms = timestamp_ms if self.begins_ms is None else min(self.begins_ms, timestamp_ms)

    def is_untouched(self) -> bool:
        """Made anew, and nothing has come of its documents: the offset that the scorer has committed is of the topic
        before, and it goes on from nowhere."""
        return self.is_anew and not any(self.count(flag) for flag in (CARD, DECISION, LETTER))

    def mark(self, offset: int, flag: int) -> bool:
        """Set a flag; whether it was set before."""
        index = offset - self.first
        before = self.flags[index]
        self.flags[index] = before | flag
        return bool(before & flag)

    def has(self, offset: int, flag: int) -> bool:
        return bool(self.flags[offset - self.first] & flag)

    def count(self, flag: int) -> int:
        """Documents with this flag."""
        return int(np.count_nonzero(self._marked(DOCUMENT | flag)))

    def where(self, flags: int, without: int = 0) -> Iterator[int]:
        """Offsets of documents that have all of `flags` and none of `without`."""
        view = np.frombuffer(self.flags, dtype=np.uint16)
        found = self._marked(DOCUMENT | flags) & ((view & without) == 0)
        return (self.first + index for index in np.flatnonzero(found).tolist())

    def name(self, offset: int) -> str:
        return f"{self.partition.topic}/{self.partition.partition}@{offset}"

    def _marked(self, flags: int) -> NDArray[np.bool_]:
        marked: NDArray[np.bool_] = (np.frombuffer(self.flags, dtype=np.uint16) & flags) == flags
        return marked


class Gone:
    """What is deleted of a partition and, by its scorer's Progress, unread: `ranges` of offsets. A card or an outcome
    says that it was read after all, in a log that was `made_anew` only if it is of this log: where somebody is at an
    offset, all before it is older, so that what is older than something before it is of an earlier log."""

    def __init__(self, ranges: Sequence[tuple[int, int]], *, made_anew: bool) -> None:
        self.ranges = ranges
        self._made_anew = made_anew
        self._before_ms: int | None = None
        self._read_ms: dict[int, int] = {}

    def note(self, offset: int, timestamp_ms: int) -> None:
        """A document has a card or an outcome."""
        if offset < self.ranges[0][0]:
            self._before_ms = timestamp_ms if self._before_ms is None else max(self._before_ms, timestamp_ms)
        elif any(first <= offset <= last for first, last in self.ranges):
            self._read_ms[offset] = max(timestamp_ms, self._read_ms.get(offset, timestamp_ms))

    def left(self) -> int:
        """How many nobody has read."""
        if not self._made_anew:
            return offsets_in(self.ranges) - len(self._read_ms)
        read = [at for at in self._read_ms.values() if self._before_ms is not None and at >= self._before_ms]
        return offsets_in(self.ranges) - len(read)


class Origins:
    """All partitions of all documents topics, as far as they are retained. `unread`: by partition what is deleted, and
    not finished; `made_anew`: partitions whose log is known not to be their first."""

    def __init__(
        self,
        bounds: Mapping[TopicPartition, tuple[int, int]],
        unread: Mapping[TopicPartition, Sequence[tuple[int, int]]],
        made_anew: Collection[TopicPartition],
    ) -> None:
        self.grounds = {partition: Ground(partition, *bounds[partition]) for partition in sorted(bounds)}
        self._gone = {one: Gone(unread[one], made_anew=one in made_anew) for one in sorted(unread)}
        self._made_anew = made_anew
        self.earlier = Earlier()

    def find(self, origin: Origin) -> tuple[Ground | None, Where]:
        """The ground that holds this document; or why there is none: no such document, deleted by retention
        (`before`), younger than the audit (`after`), or of an earlier topic of that name."""
        if self.earlier_ground(origin) is not None:
            return None, "earlier"
        return self._at(origin.topic, origin.partition, origin.offset)

    def of_row(self, topic: str, partition: int, offset: int, card_offset: int) -> tuple[Ground | None, Where]:
        """The same of an exported row, which names no time, when all decisions have been looked at."""
        ground = self.grounds.get(TopicPartition(topic, partition))
        if ground is not None and card_offset < ground.earlier_cards:
            return None, "earlier"
        return self._at(topic, partition, offset)

    def earlier_ground(self, origin: Origin) -> Ground | None:
        """The ground as it is now under a document of an earlier topic."""
        partition = TopicPartition(origin.topic, origin.partition)
        ground = self.grounds.get(partition)
        if ground is None or origin.offset < ground.first:
            return None
        if ground.begins_ms is None:  # markers are all that is there: nothing of this log can be between them
            return ground if partition in self._made_anew and origin.offset < ground.end else None
        return ground if origin.timestamp_ms < ground.begins_ms else None

    def note_deleted(self, origin: Origin) -> None:
        """A document that retention has deleted has a card or an outcome: it was read, whatever is committed."""
        gone = self._gone.get(TopicPartition(origin.topic, origin.partition))
        if gone is not None:
            gone.note(origin.offset, origin.timestamp_ms)

    def deleted_unread(self) -> Iterator[tuple[TopicPartition, int, int, int]]:
        """(partition, first, last, how many between them have neither card nor outcome), where there are any."""
        for partition, gone in self._gone.items():
            if left := gone.left():
                yield partition, gone.ranges[0][0], gone.ranges[-1][1], left

    def _at(self, topic: str, partition: int, offset: int) -> tuple[Ground | None, Where]:
        ground = self.grounds.get(TopicPartition(topic, partition))
        if ground is None:
            return None, "unknown"
        if offset < ground.first:
            return None, "before"
        if offset >= ground.end:
            return None, "after"
        return (ground, "known") if ground.has(offset, DOCUMENT) else (None, "unknown")

    def count(self, flag: int) -> int:
        return sum(ground.count(flag) for ground in self.grounds.values())

    def where(self, flags: int, without: int = 0) -> Iterator[tuple[Ground, int]]:
        for ground in self.grounds.values():
            for offset in ground.where(flags, without):
                yield ground, offset


def hashed(data: bytes) -> int:
    """64 bits of the bytes."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def name_of(origin: Origin) -> str:
    return f"{origin.topic}/{origin.partition}@{origin.offset}"
