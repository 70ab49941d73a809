"""Who fenced a producer: another process, or the broker itself."""

from collections.abc import Mapping, Sequence
from typing import Final

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import CommitUnknown, ProducerFenced
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.ports import TransactionalProducer

TRANSACTION_S: Final = 20.0
"""`[broker] transaction_timeout_ms`, by default."""


class AloneProducer:
    """A TransactionalProducer of which there should be one in the project.

    The broker ends a transaction that is older than its timeout, and fences its producer by that: one that stood still
    does so when it goes on. So a fence behind a commit that took as long says nothing of another process. It becomes
    CommitUnknown: the log will say, behind the fence of a new producer.
    """

    def __init__(
        self, producer: TransactionalProducer, timeout_s: float = TRANSACTION_S, now: Monotonic = monotonic
    ) -> None:
        self._producer = producer
        self._timeout_s = timeout_s
        self._now = now

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        begun_s = self._now()
        try:
            await self._producer.commit(records, offsets, consumer_group)
        except ProducerFenced as error:
            if self._now() - begun_s < self._timeout_s:
                raise
            raise CommitUnknown(f"{error}, after the time in which the broker ends a transaction itself") from error

    async def close(self) -> None:
        await self._producer.close()
