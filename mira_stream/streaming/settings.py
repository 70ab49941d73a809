"""How a stage runs: what every runner is told."""

from typing import Literal

from msgspec import Struct

from mira_stream.clock import start_ms
from mira_stream.records import Record
from mira_stream.sections import LimitsSection
from mira_stream.streaming.admission import Amount

Start = Literal["earliest", "latest"] | int
"""Where a consumer group starts that has never committed; an int is a record's timestamp in ms since 1970."""


class RunnerSettings(Struct, frozen=True, kw_only=True):
    """`concurrent` handlers work on many records of a partition at once; others on one after the other.

    A transaction takes up to `transaction_records` settled records, or what has settled `transaction_linger_s`
    after the first. A quiet partition's handler is asked every `tick_s` for what time alone brings (ports.Ticking).
    `retries`: fresh ownerships in a row without a commit; then the error stops the stage.

    `progress`: the topic of Progress: what a committed offset is checked against. With it, results of a `concurrent`
    stage are released as they settle, in whatever order. `partition_span`: of such a stage in offsets, else in records.
    `patient`: the stage may wait on purpose (a shadow that stands back), so that waiting is no stall.
    `writes`: topics of its results: looked at, as its own are, for transactions that do not end. `results`: that of
    them whose id Progress keeps: it must stay the one that the first results went to.
    `start` None: at offset 0, and if that was deleted the stage stops.
    """

    stage: str
    consumer_group: str
    topics: tuple[str, ...]
    writes: tuple[str, ...] = ()
    results: str = ""
    concurrent: bool
    limit: Amount
    partition_span: int
    transaction_records: int
    transaction_linger_s: float
    drain_s: float
    retries: int = 16
    tick_s: float = 5.0
    progress: str = ""
    progress_ranges: int = 1000
    start: Start | None = None
    accept_loss: bool = False
    instance: str = ""
    patient: bool = False

    @property
    def in_order(self) -> bool:
        """Whether results leave in the order of their records."""
        return not (self.concurrent and self.progress)


def in_flight(limits: LimitsSection) -> Amount:
    """The limits of mira.toml as an amount."""
    return Amount(limits.in_flight_documents, limits.in_flight_tokens, limits.in_flight_bytes)


def start_of(text: str) -> Start:
    """`[topics] start` of mira.toml: earliest, latest, or an ISO 8601 time."""
    match text:
        case "earliest" | "latest":
            return text
        case _:
            return start_ms(text)


def bytes_as_tokens(record: Record) -> int:
    """A first guess of a record's tokens: a quarter of its bytes."""
    return len(record.value or b"") // 4
