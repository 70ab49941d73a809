"""How a stage runs: what every runner is told."""

from msgspec import Struct

from mira_stream.config import LimitsSection
from mira_stream.records import Record
from mira_stream.streaming.admission import Amount


class RunnerSettings(Struct, frozen=True, kw_only=True):
    """`concurrent` handlers work on many records of a partition at once; others on one after the other.

    A transaction takes up to `transaction_records` settled records, or what has settled `transaction_linger_s`
    after the first. A quiet partition's handler is asked every `tick_s` for what time alone brings (ports.Ticking).
    `retries`: fresh ownerships in a row without a commit; then the error stops the stage.
    """

    stage: str
    consumer_group: str
    topics: tuple[str, ...]
    concurrent: bool
    limit: Amount
    partition_span: int
    transaction_records: int
    transaction_linger_s: float
    drain_s: float
    retries: int = 16
    tick_s: float = 5.0


def in_flight(limits: LimitsSection) -> Amount:
    """The limits of mira.toml as an amount."""
    return Amount(limits.in_flight_documents, limits.in_flight_tokens, limits.in_flight_bytes)


def bytes_as_tokens(record: Record) -> int:
    """A first guess of a record's tokens: a quarter of its bytes."""
    return len(record.value or b"") // 4
