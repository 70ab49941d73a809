"""What one look brings home: each service's metrics, and where logs and consumer groups stand."""

from collections.abc import Mapping
from typing import NamedTuple

from mira_stream.observing.scraped import Scrape
from mira_stream.records import TopicPartition


class Answer(NamedTuple):
    """What a service said: its metrics, or an error instead."""

    url: str
    scrape: Scrape | None
    error: str = ""


class Position(NamedTuple):
    """A log's first retained and next offset, what is open included, and the offset its reader has committed (None:
    none yet). `records`: how many records lie between; None if they were not counted, for behind the last one are
    markers of transactions."""

    first: int
    end: int
    committed: int | None
    records: int | None = None

    @property
    def next(self) -> int:
        """Where its reader goes on."""
        return max(self.first, self.first if self.committed is None else self.committed)

    @property
    def waiting(self) -> int:
        """Records that wait; where they were not counted, offsets."""
        return max(0, self.end - self.next) if self.records is None else self.records


Positions = Mapping[TopicPartition, Position]


class Look(NamedTuple):
    """`answers`: by the service's name. `documents`, `scores`, `decisions`: topics with the group that reads them."""

    at_ms: int
    answers: Mapping[str, Answer]
    documents: Positions
    scores: Positions
    decisions: Positions


class Shape(NamedTuple):
    """What of mira.toml the rules need: how many documents an engine of a group works on at once."""

    project: str
    slots: Mapping[str, int]
