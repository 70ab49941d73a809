"""One owned partition: its producer, its handler, what was read and not yet committed."""

import asyncio
from collections import deque

from mira_stream.records import Record, TopicPartition
from mira_stream.streaming.offsets import ReorderBuffer
from mira_stream.streaming.ports import Handler, TransactionalProducer


class Lane:
    """State of one ownership of one partition. A failed lane is thrown away and a fresh one opened.

    `reading`: the poll loop has sought to its position and records flow.
    """

    def __init__(
        self,
        partition: TopicPartition,
        producer: TransactionalProducer,
        handler: Handler,
        next_offset: int,
        *,
        concurrent: bool,
    ) -> None:
        self.concurrent = concurrent
        self.partition = partition
        self.producer = producer
        self.handler = handler
        self.buffer = ReorderBuffer(next_offset)
        self.position = next_offset
        self.next_offset = next_offset
        """What the last transaction committed."""
        self.reading = False
        self.paused = False
        self.backlog: deque[Record] = deque()
        self.work: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()
        self.error: Exception | None = None
        self.commits = 0
        self.releasing = 0
        """Records taken for the transaction that is under way."""

    @property
    def unfinished(self) -> int:
        """Records admitted whose transaction is not committed."""
        return self.buffer.span + len(self.backlog) + self.releasing

    @property
    def waiting(self) -> int:
        """Records or results that could fill a transaction."""
        return self.buffer.settled + len(self.backlog)

    @property
    def may_gain(self) -> bool:
        """Whether waiting can bring company: a concurrent record is being worked on, or records come one by one."""
        return not self.concurrent or self.buffer.span > self.buffer.settled

    @property
    def is_releasable(self) -> bool:
        return self.buffer.is_releasable or bool(self.backlog)

    def fail(self, error: Exception) -> None:
        """The lane's own task will find the error and end this ownership."""
        if self.error is None:
            self.error = error
        self.reading = False
        self.changed.set()

    async def close(self) -> None:
        """Cancel the work, then close handler and producer. What was not committed is void."""
        self.reading = False
        for task in self.work:
            task.cancel()
        try:
            await asyncio.gather(*self.work, return_exceptions=True)
        finally:
            try:
                await self.handler.close()
            finally:
                await self.producer.close()
