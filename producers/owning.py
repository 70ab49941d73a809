"""Being the only producer of a feed: opened anew when the outcome of a transaction was not learnt."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from mira_stream.errors import CommitUnknown, DependencyError, ProducerFenced, TransactionExpired
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.folder_watch import FENCED
from mira_stream.streaming.ports import Broker, TransactionalProducer

ATTEMPTS: Final = 5


async def own(
    broker: Broker,
    transactional_id: str,
    feed: str,
    work: Callable[[TransactionalProducer], Awaitable[None]],
) -> None:
    """Do `work` with a producer that fenced every older one of its id; again with a new one after CommitUnknown
    or TransactionExpired.

    `work` begins with a transaction that opens the feed, so more than one commit is a step forward. Raises
    DependencyError if another process takes over, or after `ATTEMPTS` openings in a row without a step.
    """
    tries = 0
    while tries < ATTEMPTS:
        producer = _Counted(await broker.producer(transactional_id))
        try:
            return await work(producer)
        except (CommitUnknown, TransactionExpired):
            tries = 1 if producer.commits > 1 else tries + 1
        except ProducerFenced:
            raise DependencyError(
                FENCED,
                f"another process took over {feed}",
                "let only one run; what is in the log is good, and is not read again",
            ) from None
        finally:
            await producer.close()
    raise DependencyError(
        "commit_unknown",
        f"{feed}: the broker left {ATTEMPTS} transactions in a row without an answer",
        "check the broker and start again: it goes on where it stopped",
    )


class _Counted:
    """A TransactionalProducer that counts its commits."""

    def __init__(self, producer: TransactionalProducer) -> None:
        self.commits = 0
        self._producer = producer

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        await self._producer.commit(records, offsets, consumer_group)
        self.commits += 1

    async def close(self) -> None:
        await self._producer.close()
