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
    """A log's first retained and next offset, and the offset its reader has committed (None: none yet)."""

    first: int
    end: int
    committed: int | None

    @property
    def waiting(self) -> int:
        return max(0, self.end - max(self.first, self.first if self.committed is None else self.committed))


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
