"""One owned partition: its producer, its handler, what was read and not yet committed."""

import asyncio
from collections import deque

from mira_stream.progress_messages import Progress
from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.streaming.offsets import Release, Span
from mira_stream.streaming.ports import Handler, Ticking, TransactionalProducer
from mira_stream.streaming.pressure import Cause
from mira_stream.streaming.progress import progress_record
from mira_stream.streaming.settings import RunnerSettings
from mira_stream.streaming.starting import Start

WAITING_TRANSACTIONS = 4
"""Results that may wait for their commit, in full transactions: a broker that is slow must not fill the memory."""


class Lane:
    """State of one ownership of one partition. A failed lane is thrown away and a fresh one opened.

    `reading`: the poll loop has sought to its position and records flow.
    `doubts`: how often a rebalance has taken the partition away and given it back; `looked`: after how many of them
    its owner has seen that the committed offset is still its own. While they differ, nothing is admitted.
    `took_leave`: the stage stops, and the handler has said what it still had to say (ports.Ticking).
    `revoked`: a rebalance is under way; whatever settles is committed at once, for it may be the last chance.
    """

    def __init__(
        self,
        partition: TopicPartition,
        producer: TransactionalProducer,
        handler: Handler,
        start: Start,
        settings: RunnerSettings,
        progress: TopicPartition | None,
    ) -> None:
        self.partition = partition
        self.producer = producer
        self.handler = handler
        self.ticking = handler if isinstance(handler, Ticking) else None
        self.span = Span(start.next_offset, start.finished)
        self.position = start.next_offset
        self.next_offset = start.next_offset
        """What the last transaction committed."""
        self.committed = start.committed
        self.bounds = (0, 0)
        """First retained offset and last stable offset, as last seen; the poll loop's side looks every few seconds."""
        self.stamp_ms: int | None = None
        """The last record read: its time."""
        self.committing = False
        self.reading = False
        self.doubts = self.looked = 0
        self.revoked = False
        self.paused = False
        self.took_leave = False
        self.backlog: deque[Record] = deque()
        self.work: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()
        self.error: Exception | None = None
        self.commits = 0
        self.crowded = False
        """Nothing more is admitted until something settles."""
        self.goal = 1
        """So many results the owner waits for."""
        self.releasing = 0
        """Records taken for the transaction that is under way."""
        self._settings = settings
        self._progress = progress
        self.topic_id = start.topic_id
        self.written_off = start.written_off
        self.results_id = start.results_id

    @property
    def doubted(self) -> bool:
        return self.doubts > self.looked

    @property
    def unfinished(self) -> int:
        """Records admitted whose transaction is not committed."""
        return self.span.unfinished + len(self.backlog) + self.releasing

    @property
    def is_drained(self) -> bool:
        """Whether a stage that stops has nothing more to wait for."""
        owes = self.ticking is not None and not self.took_leave and self.error is None
        return not (self.unfinished or self.is_releasable or owes)

    @property
    def waiting(self) -> int:
        """Records or results that could fill a transaction."""
        return self.span.settled + len(self.backlog)

    @property
    def may_gain(self) -> bool:
        """Whether waiting can bring company: a concurrent record is being worked on; or records come one by one, and
        there is room for more."""
        return self.span.working > 0 if self._settings.concurrent else not self.crowded

    @property
    def hurries(self) -> bool:
        """Whether there is no time to wait for company."""
        return self.revoked or self.doubted

    @property
    def is_flushing(self) -> bool:
        """Whether results are there that a rebalance should wait for."""
        return self.revoked and self.error is None and self.span.settled + self.releasing > 0

    @property
    def is_releasable(self) -> bool:
        return bool(self.backlog) or self.span.is_releasable(in_order=self._settings.in_order)

    def is_over(self, share: float) -> bool:
        """Whether the lane is over this share of one of its limits."""
        return self.over(share) is not None

    def over(self, share: float) -> Cause | None:
        """Whose fault it is that the lane is over this share of one of its limits; None if it is not."""
        settings, span = self._settings, self.span
        if settings.in_order:
            if self.unfinished < share * settings.partition_span:
                return None
            return "broker" if self.committing else "partition_span"
        if span.settled >= share * WAITING_TRANSACTIONS * settings.transaction_records:
            return "broker"
        is_wide = span.width >= share * settings.partition_span or span.ranges >= share * settings.progress_ranges
        return "partition_span" if is_wide else None

    def release(self) -> Release | None:
        """What of the concurrent records may go into the next transaction."""
        return self.span.release(self._settings.transaction_records, in_order=self._settings.in_order)

    def progress(self, release: Release) -> list[Outgoing]:
        """The Progress of the transaction that commits `release`; none if the stage writes none."""
        if self._progress is None:
            return []
        topic, number = self.partition
        said = Progress(
            topic=topic,
            partition=number,
            next_offset=release.next_offset,
            finished=[*release.finished],
            topic_id=self.topic_id,
            written_off=self.written_off,
            results_id=self.results_id,
        )
        return [progress_record(self._settings.consumer_group, self._progress, said)]

    def settled(self) -> None:
        """One more record has settled: the owner is woken if it waits for no more."""
        if self.waiting >= self.goal or not self.may_gain:
            self.changed.set()

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
