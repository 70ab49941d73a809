"""The file producer: files and folders in, documents out.

A transaction holds documents, dead letters of rows that are none, and the positions up to which files were read:
started again, it goes on where it stopped. Steps, for each source:

  1. open the producer (fences an older one of the same feed, ends its open transaction)
  2. read the last positions, up to an opening of its own
  3. read files and commit, a batch ahead of the broker
  4. if the outcome of a commit was not learnt, start at 1 again

Asked for what is missing, it reads before 3 what is in the stream of the source, and goes through the rows behind the
start again: what it produces of them is found there the next time, so they need no position. Another such run may read
the source from another path, which is another feed: the openings say so, and whoever opened later fences those before,
and reads what they have committed.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final
from uuid import uuid4

from mira_stream.config import Project
from mira_stream.ingest.batches import Batch
from mira_stream.ingest.positions import Positions
from mira_stream.ingest.source import Opened, Produced, SourceReader
from mira_stream.parquet import READERS
from mira_stream.sections import SourceSection
from mira_stream.streaming.outcomes import Outcomes
from mira_stream.streaming.ports import Broker, TransactionalProducer

from .owning import own

__all__ = ["Produced", "produce"]

OF_MISSING: Final = "missing-"
"""So begins the token in the opening of a run that looks for what is missing."""

Progress = Callable[[str, Produced], None]
"""Called with a source's name once it is opened and after each of its transactions."""


async def produce(
    broker: Broker,
    project: Project,
    sources: Mapping[str, SourceSection],
    progress: Progress = lambda source, produced: None,
    again: bool = False,
    missing: bool = False,
) -> dict[str, Produced]:
    """Stream the sources side by side, each to its end. `again`: read files that changed from their start. `missing`:
    of all rows, those read before too, produce the documents that have no outcome and do not wait for one.

    Raises ConfigError before anything is produced if a source's path cannot be read. Later errors end their own
    source only; the first is raised when the other sources are done.
    """
    readers = [
        await asyncio.to_thread(SourceReader, project, name, section, READERS) for name, section in sources.items()
    ]
    log = await broker.reader()
    try:
        groups = {reader.name: reader.group for reader in readers}
        outcomes = Outcomes(broker, log, project, groups) if missing else None
        feeds = [
            _Feed(broker, project, reader, Positions(log, project.topic("ingest")), again, outcomes)
            for reader in readers
        ]
        ends = await asyncio.gather(*(feed.run(progress) for feed in feeds), return_exceptions=True)
    finally:
        await log.close()
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return {feed.reader.name: feed.produced for feed in feeds}


class _Feed:
    """One source on its way into the log."""

    def __init__(
        self,
        broker: Broker,
        project: Project,
        reader: SourceReader,
        positions: Positions,
        again: bool,
        outcomes: Outcomes | None,
    ) -> None:
        self.reader = reader
        self.produced = Produced(left_out_files=reader.corpus.left_out)
        self._broker = broker
        self._positions = positions
        self._again = again
        self._outcomes = outcomes
        self._project = project
        self._blocked_s = 2 * project.settings.broker.transaction_timeout_ms / 1000
        self._earlier: int | None = None

    async def run(self, progress: Progress) -> None:
        await own(
            self._broker,
            self._transactional_id(self.reader.feed),
            self.reader.feed,
            lambda producer: self._stream(producer, progress),
        )

    async def _stream(self, producer: TransactionalProducer, progress: Progress) -> None:
        feed, token = self.reader.feed, f"{OF_MISSING if self._outcomes is not None else ''}{uuid4().hex}"
        await producer.commit([self._positions.opening(feed, token)], {}, None)
        await self._positions.catch_up(feed, token, self._blocked_s)
        missing = None
        if self._outcomes is not None:
            await self._fence_others()
            await self._outcomes.catch_up()  # behind the fences: of this source nothing is sent again but what follows
            missing = self.reader.missing(self._outcomes.there)
        opened = await asyncio.to_thread(self.reader.open, self._positions, self._again, missing)
        self._count(opened.documents, opened.rejected, progress)
        ahead = _next(opened)
        try:
            while (batch := await ahead) is not None:
                ahead = _next(opened)
                await producer.commit(batch.records, {}, None)
                counts = self.produced
                counts.again += batch.again
                counts.left = 0 if missing is None else missing.left
                self._count(counts.documents + batch.documents, counts.rejected + batch.rejected, progress)
        finally:
            await asyncio.gather(ahead, return_exceptions=True)  # its thread still reads
        self.produced.left = 0 if missing is None else missing.left

    async def _fence_others(self) -> None:
        """Runs that look for what is missing of this source, too. One that opens later fences this one."""
        feed = self.reader.feed
        for other in self._positions.opened_before(feed, self.reader.name, OF_MISSING):
            await (await self._broker.producer(self._transactional_id(other))).close()

    def _transactional_id(self, feed: str) -> str:
        return self._project.topic(f"produce.{feed}")

    def _count(self, documents: int, rejected: int, progress: Progress) -> None:
        if self._earlier is None:
            self._earlier = documents + rejected
        self.produced.documents, self.produced.rejected = documents, rejected
        self.produced.new = documents + rejected - self._earlier
        progress(self.reader.name, self.produced)


def _next(opened: Opened) -> "asyncio.Task[Batch | None]":
    return asyncio.create_task(asyncio.to_thread(next, opened.batches, None))
