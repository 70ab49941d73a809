"""Dead letters: how many of each reason, and the newest."""

from collections import Counter, deque
from typing import Final

import msgspec

from mira_stream.messages import DeadLetter
from mira_stream.observing.snapshot import DeadCount, DeadRow
from mira_stream.records import Record

NEWEST_MAX: Final = 20
ERROR_CHARACTERS: Final = 300
REASONS_MAX: Final = 100
_decoder: Final = msgspec.json.Decoder(DeadLetter)


class Letters:
    """Feed it the records of the dead-letter topic, in any order of partitions."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._newest: deque[DeadRow] = deque(maxlen=NEWEST_MAX)
        self.read = False
        """Whether the topic was ever read up to its end: before that, no letter is not none."""
        self.earlier = 0
        """Offsets of the topic that were not read, because they lie before its newest: those are not counted."""

    def take(self, record: Record) -> None:
        try:
            letter = _decoder.decode(record.value or b"")
        except msgspec.DecodeError:
            return
        key = (letter.stage, letter.reason)
        if key in self._counts or len(self._counts) < REASONS_MAX:
            self._counts[key] += 1
        row = DeadRow(
            at_ms=record.timestamp_ms,
            place=f"{record.partition}@{record.offset}",
            stage=letter.stage,
            reason=letter.reason,
            source=letter.source or "",
            id=(letter.id or "")[:ERROR_CHARACTERS],
            error=letter.error[:ERROR_CHARACTERS],
        )
        self._newest = deque(sorted([*self._newest, row], key=lambda one: one.at_ms), maxlen=NEWEST_MAX)

    def followed(self, left_out: int) -> None:
        """The topic was read to its end now, but for so many offsets."""
        self.read = True
        self.earlier += left_out

    def counts(self) -> list[DeadCount]:
        """The most frequent first."""
        ranked = sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [DeadCount(stage=stage, reason=reason, letters=count) for (stage, reason), count in ranked]

    def newest(self) -> list[DeadRow]:
        """The newest first."""
        return list(reversed(self._newest))
