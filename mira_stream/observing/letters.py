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

    def counts(self) -> list[DeadCount]:
        """The most frequent first."""
        ranked = sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [DeadCount(stage=stage, reason=reason, letters=count) for (stage, reason), count in ranked]

    def newest(self) -> list[DeadRow]:
        """The newest first."""
        return list(reversed(self._newest))
