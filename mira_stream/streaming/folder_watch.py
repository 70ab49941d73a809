"""Looks at a folder again and again and commits what is new in it: what the folder producer does while it is alone."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final
from uuid import uuid4

import structlog
from msgspec import Struct

from mira_stream.clock import Monotonic
from mira_stream.config import Project
from mira_stream.errors import ConfigError, DependencyError
from mira_stream.ingest.batches import Batch
from mira_stream.ingest.folder import FolderReader, Refused
from mira_stream.ingest.positions import Positions
from mira_stream.streaming.health import Check
from mira_stream.streaming.ingest_metrics import ACCEPTED, REJECTED, IngestMetrics
from mira_stream.streaming.ports import TransactionalProducer

REOPEN_S: Final = 1.0
REOPEN_MAX_S: Final = 30.0
FENCED: Final = "producer_fenced"
"""Another process has taken the feed over: the normal end of the older one."""
log = structlog.get_logger()


class Watched(Struct, kw_only=True):
    """Counts of this run; `refused`: files that are not read on, and the codes of the errors."""

    documents: int = 0
    rejected: int = 0
    looks: int = 0
    refused: dict[str, str] = {}


class FolderWatch:
    """One owner's look at the folder, every `every_s` seconds until `stop`, and what probes are told of it."""

    def __init__(
        self,
        project: Project,
        reader: FolderReader,
        positions: Positions,
        metrics: IngestMetrics,
        stop: asyncio.Event,
        every_s: float,
        now: Monotonic,
    ) -> None:
        self.watched = Watched()
        self.looked: Callable[[Watched], None] = lambda watched: None
        self.full: Callable[[], bool] = lambda: False
        self._reader = reader
        self._positions = positions
        self._metrics = metrics
        self._stop = stop
        self._every_s = every_s
        self._now = now
        self._blocked_s = 2 * project.settings.broker.transaction_timeout_ms / 1000
        self._gone = ""
        self._looked_at = now()
        self._positioned = False
        self._down: DependencyError | None = None

    def started(self) -> Check:
        if self._positioned:
            return Check("positions", True)
        return Check(
            "positions", False, None, "positions are still read from the log", "wait: it looks at the folder then"
        )

    def ready(self) -> Check:
        age_s, fix = self._now() - self._looked_at, "mount the folder again; it is waited for"
        return Check("folder", False, age_s, self._gone, fix) if self._gone else Check("folder", True, age_s)

    def usable(self) -> Check:
        down = self._down
        return Check("broker", True) if down is None else Check("broker", False, None, down.cause, down.fix)

    async def keep(self, owned: Callable[[], Awaitable[None]]) -> None:
        """`owned` until told to stop: again while the broker fails it, after twice the pause for each time in a row."""
        pause_s = REOPEN_S
        while True:
            looks = self.watched.looks
            try:
                return await owned()
            except DependencyError as error:
                if error.code == FENCED:
                    raise
                self._down = error
            if self.watched.looks > looks:
                pause_s = REOPEN_S
            self._metrics.refuse(self._down.code)
            log.error(
                "broker_unusable", code=self._down.code, cause=self._down.cause, fix=self._down.fix, again_s=pause_s
            )
            await _wait(self._stop, pause_s)
            if self._stop.is_set():
                return None
            pause_s = min(2 * pause_s, REOPEN_MAX_S)

    async def run(self, producer: TransactionalProducer) -> None:
        self._metrics.begin(self._reader.feed)
        token = uuid4().hex
        await producer.commit([self._positions.opening(self._reader.feed, token)], {}, None)
        await self._positions.catch_up(self._reader.feed, token, self._blocked_s)
        self._reader.restart()
        self._positioned, self._down = True, None
        while not self._stop.is_set():
            await self._look(producer)
            self.watched.looks += 1
            self._looked_at = self._now()
            self._metrics.files_refused.set(len(self._reader.refused))
            self.looked(self.watched)
            await _wait(self._stop, self._every_s)

    async def _look(self, producer: TransactionalProducer) -> None:
        found = self._reader.look(self._positions, self._now(), self._stop.is_set)
        ahead = _next(found)
        try:
            while (next_ := await ahead) is not None:
                ahead = _next(found)
                if isinstance(next_, Refused):
                    self._refuse(next_)
                    continue
                while self.full() and not self._stop.is_set():
                    await _wait(self._stop, self._every_s)
                if self._stop.is_set():
                    return
                await producer.commit(next_.records, {}, None)
                self._count(next_)
        except ConfigError as error:  # the folder itself
            if not self.watched.looks:
                raise
            if self._gone != error.code:
                self._metrics.refuse(error.code)
                log.error("folder_unreadable", code=error.code, cause=error.cause, fix=error.fix)
            self._gone = error.code
        else:
            self._gone = ""
        finally:
            await asyncio.gather(ahead, return_exceptions=True)  # its thread still reads

    def _count(self, batch: Batch) -> None:
        self._positions.committed(batch.positions)
        self.watched.documents += batch.documents
        self.watched.rejected += batch.rejected
        self._metrics.took(self._reader.feed, ACCEPTED, batch.documents)
        self._metrics.took(self._reader.feed, REJECTED, batch.rejected)

    def _refuse(self, refused: Refused) -> None:
        error = refused.error
        self._metrics.refuse(error.code)
        log.error("file_refused", file=refused.uri, code=error.code, cause=error.cause, fix=error.fix)


def _next(found: Iterator[Batch | Refused]) -> "asyncio.Task[Batch | Refused | None]":
    return asyncio.create_task(asyncio.to_thread(next, found, None))


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
