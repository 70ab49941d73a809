"""The task that owns one partition, from fencing the old owner to losing it.

  1. initialise the partition's transactional id (fences the old owner)
  2. ask for the committed offset, and for the Progress of the same transaction
  3. let the handler restore its state up to there
  4. let the poll loop seek there: only then do records flow
  5. release what has settled, and commit it with next offset and Progress in one transaction, again and again; before
     each, look whether the topic was made anew
An error ends this ownership and 1 starts again: nothing half-done survives in memory.

A rebalance takes every partition from every member and deals them out anew. It does not end this task: work goes on
and is committed, only nothing new is admitted. Why that is safe, in every order of events:

  - Every owner, wherever it runs, does 1 before 2. So a commit of ours either precedes another owner's 1, and then
    its 2 reads our offset and our Progress; or it comes after it, and then the broker refuses it (ProducerFenced).
    There is no third case, whether the consumer group has noticed yet or not: a member that was thrown out while it
    slept, and a member between revocation and assignment, are the same.
  - Given to another member: the poll loop cancels this task as soon as the assignment says so. A commit that is cut
    off is as if it had timed out: the other's 1 ends it either way before its 2.
  - Given back to us: if another member had owned it meanwhile, it did 1, and our next commit is refused; we start at
    1. If nobody did, our offset is still the committed one. The owner looks (`doubted`) before anything is admitted,
    so that work which is bound to be refused is not begun, and an offset moved by hand is noticed.
  - Opened in the middle of a rebalance: 1 to 3 may run while the partition is somebody else's; we fence it for a
    moment, and it, being assigned, takes the partition back by its own 1. Records flow only to assigned partitions.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from mira_stream.cancellation import is_cancelled, only_ours
from mira_stream.clock import Monotonic
from mira_stream.errors import (
    CommitUnknown,
    DataLossError,
    DependencyError,
    EngineError,
    FolderAway,
    ProducerFenced,
)
from mira_stream.records import LogReader, Outgoing, TopicPartition
from mira_stream.streaming.lane import Lane
from mira_stream.streaming.limits import made_anew, results_made_anew
from mira_stream.streaming.markers import pass_markers
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.offsets import Release
from mira_stream.streaming.ports import Broker, Consumer, HandlerFactory, TransactionalProducer
from mira_stream.streaming.progress import is_another, place_for
from mira_stream.streaming.settings import RunnerSettings
from mira_stream.streaming.starting import Ids, Start, find_start
from mira_stream.streaming.written_off import offsets_in

log: Final = structlog.get_logger("mira_stream.runner")

REOPEN_S: Final = (0.1, 0.5, 1.0, 1.0, 1.0, 1.0, 2.0, 5.0, 10.0, 20.0)
"""A broker that is started anew is back within seconds: no long pause may lie over that moment."""
CLOSE_S: Final = 30.0
FENCED_S: Final = (3.0, 10.0, 30.0)
RECOVERABLE: Final = (CommitUnknown, DependencyError, EngineError)
LOOKS: Final = 3
"""Committed offset, Progress, states and the log's bounds are read one after the other. Whoever is fenced meanwhile
sees what never was together: a loss counts when new looks, fenced anew, find it again."""


class OffsetMoved(Exception):
    """The partition came back with another committed offset than ours: what we have of it is void."""


class Lanes(Protocol):
    """The poll loop's side of a lane's life."""

    def opened(self, lane: Lane) -> None: ...

    def closed(self, lane: Lane) -> None: ...

    def committed(self, lane: Lane, release: Release | None = None) -> None:
        """`release` None: what time alone brought; it moves nothing."""
        ...

    def kept(self, lane: Lane) -> None: ...

    def settled(self, lane: Lane, offset: int) -> None: ...

    async def until_assigned(self, partition: TopicPartition) -> None: ...

    @property
    def consumer(self) -> Consumer: ...

    @property
    def draining(self) -> bool: ...


class Owner:
    """Owns one partition until cancelled; gives up by calling `stop_with`."""

    def __init__(
        self,
        partition: TopicPartition,
        broker: Broker,
        reader: LogReader,
        factory: HandlerFactory,
        settings: RunnerSettings,
        metrics: Metrics,
        lanes: Lanes,
        stop_with: Callable[[Exception], None],
        now: Monotonic,
    ) -> None:
        self._partition = partition
        self._broker = broker
        self._reader = reader
        self._factory = factory
        self._settings = settings
        self._metrics = metrics
        self._lanes = lanes
        self._stop_with = stop_with
        self._now = now

    async def run(self) -> None:
        failures = fenced = looks = waits = 0
        while True:
            _obey()
            lane = None
            try:
                with only_ours(f"owning {name_of(self._partition)}"):
                    lane = await self._open()
                    _obey()
                    self._lanes.opened(lane)
                    await self._release(lane)
            except ProducerFenced:
                # Normal: the partition was moved, and the revocation will cancel this task. If it does not come,
                # the other owner is gone again, was no member of this group, or the transaction had timed out:
                # take the partition back.
                self._metrics.commits.labels(self._settings.stage, "fenced").inc()
                log.warning(
                    "fenced",
                    stage=self._settings.stage,
                    partition=name_of(self._partition),
                )
                pause_s = pause_of(FENCED_S, fenced)
                fenced += 1
            except OffsetMoved:
                self._metrics.returned.labels(self._settings.stage, "moved").inc()
                log.warning("offset moved", stage=self._settings.stage, partition=name_of(self._partition))
                pause_s = 0.0
            except FolderAway as error:  # waited for without end: a start of the service would mend nothing
                waits = 1 if lane is not None and lane.commits else waits + 1
                if waits == 1:
                    log.warning("waits", partition=name_of(self._partition), error=str(error))
                pause_s = pause_of(REOPEN_S, waits - 1)
            except RECOVERABLE as error:
                failures = 1 if lane is not None and lane.commits else failures + 1
                if failures > self._settings.retries:
                    return self._stop_with(given_up(self._partition, error))
                self._metrics.commits.labels(self._settings.stage, "failed").inc()
                log.warning(
                    "starts over",
                    partition=name_of(self._partition),
                    error=str(error) or repr(error),
                )
                pause_s = pause_of(REOPEN_S, failures - 1)
            except DataLossError as error:
                looks = 1 if lane is not None and lane.commits else looks + 1
                if looks > LOOKS:
                    return self._stop_with(error)
                log.warning("looks again", partition=name_of(self._partition), error=str(error))
                pause_s = pause_of(REOPEN_S, looks - 1)
            except Exception as error:  # raised again by Runner.run, which waits for it
                return self._stop_with(error)
            finally:
                if lane is not None:
                    self._lanes.closed(lane)
                    await self._close(lane)
            await asyncio.sleep(pause_s)

    async def _close(self, lane: Lane) -> None:
        """Whatever goes wrong, or does not end: what the lane held is void, and its producer is fenced by the next."""
        try:
            async with asyncio.timeout(CLOSE_S):
                with only_ours("closing a lane"):
                    await lane.close()
        except Exception as error:
            log.warning("not closed in order", partition=name_of(lane.partition), error=str(error) or repr(error))

    async def _open(self) -> Lane:
        partition, settings = self._partition, self._settings
        await self._lanes.until_assigned(partition)  # between revocation and assignment we would fence its new owner
        producer = await self._broker.producer(f"{settings.consumer_group}.{partition.topic}.{partition.partition}")
        try:
            place, topic_id = None, ""
            if settings.progress:
                place = await place_for(self._reader, settings.progress, partition)
                topic_id = await self._broker.topic_id(partition.topic)
            results_id = await self._broker.topic_id(settings.results) if settings.results else ""
            ids = Ids(topic_id, results_id)
            start = await find_start(partition, self._lanes.consumer, self._reader, settings, place, ids)
            handler = self._factory(partition, self._reader)
            lane = Lane(partition, producer, handler, start, settings, place)
            await handler.open(start.next_offset)  # may refuse it
            if start.is_new:
                await self._commit_start(lane, producer, start)
        except BaseException:
            await producer.close()
            raise
        return lane

    async def _commit_start(self, lane: Lane, producer: TransactionalProducer, start: Start) -> None:
        """Make the position known before anything is done: after a crash it must be the same."""
        said = Release([], 0, start.next_offset, lane.span.finished())
        await producer.commit(lane.progress(said), {lane.partition: start.next_offset}, self._settings.consumer_group)
        lane.committed = start.next_offset
        lane.commits += 1  # losses that were accepted do not add up to one that was not
        self._metrics.lost.labels(self._settings.stage, lane.partition.topic).inc(offsets_in(start.lost))

    async def _release(self, lane: Lane) -> None:
        """Ends only by an error or by cancellation."""
        while True:
            await self._fill(lane)
            if lane.doubted:
                await self._look_at_offset(lane)
                continue
            release = await self._take(lane)
            if release is None:
                continue
            lane.releasing = max(1, release.records)  # a drain waits for it, also if it only moves the offset
            sealed = await lane.handler.seal(release.next_offset)
            await self._check_topic(lane)
            await self._commit(lane, [*release.results, *sealed, *lane.progress(release)], release.next_offset)
            await lane.handler.committed()
            lane.releasing = 0
            self._lanes.committed(lane, release)

    async def _fill(self, lane: Lane) -> None:
        """Wait for a first settled record, then a little longer for company, if any is on its way."""
        settings = self._settings
        lane.goal = 1
        while not lane.is_releasable and not lane.doubted:
            await self._quiet(lane)
        lane.goal = settings.transaction_records
        try:
            async with asyncio.timeout(settings.transaction_linger_s):
                while lane.may_gain and lane.waiting < lane.goal and not (self._lanes.draining or lane.hurries):
                    await _change(lane)
        except TimeoutError:
            pass

    async def _quiet(self, lane: Lane) -> None:
        """Wait for a change; when none comes, let the handler say what time alone brings, and pass over markers."""
        while True:
            if self._lanes.draining and not lane.is_drained and not lane.unfinished:
                await self._tick(lane, last=True)
                lane.took_leave = True
                self._lanes.committed(lane)  # the drain waits for it
            try:
                async with asyncio.timeout(self._settings.tick_s) as patience:
                    return await _change(lane)
            except TimeoutError:
                if not patience.expired():
                    raise
            await self._tick(lane)
            await pass_markers(lane, self._reader)
            if lane.changed.is_set():  # by either, or while they waited
                return None

    async def _tick(self, lane: Lane, *, last: bool = False) -> None:
        results = await lane.ticking.tick(lane.next_offset, last=last) if lane.ticking is not None else ()
        if results:
            lane.releasing = len(results)  # a drain waits for it
            await self._commit(lane, results, lane.next_offset)
            await lane.handler.committed()
            lane.releasing = 0
            self._lanes.committed(lane)

    async def _look_at_offset(self, lane: Lane) -> None:
        """Raises OffsetMoved. A rebalance that comes meanwhile asks for another look."""
        doubts = lane.doubts
        if await self._lanes.consumer.committed(lane.partition) != lane.committed:
            raise OffsetMoved
        lane.looked = doubts
        self._lanes.kept(lane)

    async def _take(self, lane: Lane) -> Release | None:
        if self._settings.concurrent:
            return lane.release()
        passed = lane.release()  # of these lanes the span knows only markers
        results: list[Outgoing] = []
        records = 0
        next_offset = lane.position
        while lane.backlog and records < self._settings.transaction_records:
            record = lane.backlog.popleft()
            lane.releasing += 1
            results.extend(await lane.handler.handle(record))
            next_offset = record.offset + 1
            records += 1
            self._lanes.settled(lane, record.offset)
        return Release(results, records, next_offset, []) if records else passed

    async def _check_topic(self, lane: Lane) -> None:
        """Whatever was read by now is of the lane's topic if it has the same id still, for none comes back. Results of
        another one would be released as progress in this, and its documents be judged again from their start. Of a
        stage in order there is nothing to do again: it does not begin in a topic that was made anew.

        The topic that results go to is asked for in the same request: progress names the one before, and all that it
        has is written off once a person accepts that one's loss, also what went to the new one. Of a log that is made
        anew behind the answer that is this one transaction."""
        topic, results = lane.partition.topic, self._settings.results
        if not (self._settings.concurrent and lane.topic_id):
            return
        ids = await self._broker.topic_ids([topic, results] if results else [topic])
        if is_another(lane.topic_id, ids[topic]):
            raise made_anew(lane.partition, lane.next_offset, self._settings.stage)
        if results and is_another(lane.results_id, ids[results]):
            raise results_made_anew(lane.partition, results, lane.next_offset)

    async def _commit(self, lane: Lane, results: Sequence[Outgoing], next_offset: int) -> None:
        stage, started = self._settings.stage, self._now()
        lane.committing = True
        await lane.producer.commit(results, {lane.partition: next_offset}, self._settings.consumer_group)
        lane.committing = False  # a commit that failed ends the lane
        lane.committed = next_offset
        self._metrics.commit_seconds.labels(stage).observe(self._now() - started)
        self._metrics.commits.labels(stage, "committed").inc()
        for topic, count in Counter(result.topic for result in results).items():
            self._metrics.records_out.labels(stage, topic).inc(count)
        lane.commits += 1
        lane.next_offset = next_offset


def _obey() -> None:
    """A cancellation that a library suppressed while it closed something is still one: the partition is not ours."""
    if is_cancelled():
        raise asyncio.CancelledError


async def _change(lane: Lane) -> None:
    """Wait until something happened on the lane; raise what its work failed with."""
    if lane.error is not None:
        raise lane.error
    lane.changed.clear()
    await lane.changed.wait()
    if lane.error is not None:
        raise lane.error


def pause_of(pauses_s: tuple[float, ...], number: int) -> float:
    """The pause after failure `number` (from 0); the last one for all that follow."""
    return pauses_s[min(number, len(pauses_s) - 1)]


def given_up(partition: TopicPartition, error: Exception) -> Exception:
    """What a person is told when starting over did not help."""
    said = f"{name_of(partition)}: {error}"
    if isinstance(error, EngineError):
        return DependencyError(
            "engine_down", said, "look at the engine's log or endpoint, then start the service again"
        )
    if isinstance(error, CommitUnknown):
        return DependencyError("commit_unknown", said, "look at the broker's log, then start the service again")
    return error


def name_of(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
