"""The runner: a consumer group member that moves each of its partitions exactly once.

One task polls, one task a partition owns it (owner.py). The poll loop alone seeks, pauses and polls, so a seek
can never fall between a fetch and its delivery; records of a partition without an open lane are dropped, for
they are read again from the committed offset.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from mira_stream.cancellation import is_cancelled
from mira_stream.clock import Monotonic, monotonic, now_ms
from mira_stream.errors import DataLossError, DependencyError, EngineError
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.streaming.admission import Admission
from mira_stream.streaming.assignment import Assignment
from mira_stream.streaming.health import Check, Health, broker_check, partitions_check
from mira_stream.streaming.lane import Lane
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.offsets import Release
from mira_stream.streaming.owner import Owner, name_of
from mira_stream.streaming.owner_tasks import OwnerTasks
from mira_stream.streaming.ports import Broker, Consumer, HandlerFactory
from mira_stream.streaming.pressure import Cause, Pressure, State
from mira_stream.streaming.settings import RunnerSettings, bytes_as_tokens
from mira_stream.streaming.stage_watch import StageWatch

log: Final = structlog.get_logger("mira_stream.runner")

POLL_S: Final = 0.2
RESUME: Final = 0.5
"""A paused partition goes on at this share of its limits."""


class Runner:
    """Runs one stage until `stop` is set or an error no retry can mend. `is_down`: whether what its handlers wait for
    does not serve now, so that waiting is put down to it."""

    def __init__(
        self,
        broker: Broker,
        settings: RunnerSettings,
        factory: HandlerFactory,
        metrics: Metrics,
        tokens_of: Callable[[Record], int] = bytes_as_tokens,
        now: Monotonic = monotonic,
        now_ms: Callable[[], int] = now_ms,
        is_down: Callable[[], bool] = lambda: False,
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._factory = factory
        self._metrics = metrics
        self._tokens_of = tokens_of
        self._now = now
        self._now_ms = now_ms
        self._is_down = is_down
        self._admission = Admission(settings.limit)
        self._owners = OwnerTasks(settings.stage, self._own, self._left)
        self._lanes: dict[TopicPartition, Lane] = {}
        self._wake = asyncio.Event()
        self._thirsty = False
        self._consumer_ready = asyncio.Event()
        self._fatal: Exception | None = None
        metrics.begin(settings.stage, settings.topics)
        self._records_in = {topic: metrics.records_in.labels(settings.stage, topic) for topic in settings.topics}
        self._skipped = {topic: metrics.skipped.labels(settings.stage, topic) for topic in settings.topics}
        self.draining = False
        self.pressure = Pressure(now())
        self.moves: Counter[TopicPartition] = Counter()
        self.done = 0
        self._paused = metrics.paused.labels(settings.stage)
        self.assignment = Assignment(settings.stage, self._owners, self._lanes, metrics, self._wake.set, now)

    async def run(self, stop: asyncio.Event) -> None:
        """Raises the first error that stops the stage; returns after a drain when `stop` is set."""
        self._reader: LogReader = await self._broker.reader()
        try:
            self.consumer: Consumer = await self._broker.consumer(
                self._settings.consumer_group, self._settings.topics, self.assignment, self._settings.instance
            )
            self._consumer_ready.set()
            self._stage_watch = StageWatch(
                self, self._settings, self._reader, self._broker, self._metrics, self._now, self._now_ms
            )
            side_tasks = [
                asyncio.create_task(self._wake_on(stop)),
                asyncio.create_task(self._watch()),
            ]
            try:
                with self._checked(self._metrics.health), self._metrics.stages.asking(self._stage_watch.press):
                    await self._poll_until(stop)
                    if self._fatal is None:
                        await self._drain()
            finally:
                for task in side_tasks:
                    task.cancel()
                await asyncio.gather(*side_tasks, return_exceptions=True)
                await self._owners.end_all()
                await self.consumer.close()
                await self._owners.end_all()  # an assignment may have come while the others were ended
        finally:
            await self._reader.close()
        if self._fatal is not None:
            raise self._fatal

    # -- owners --

    def _left(self, partition: TopicPartition, task: asyncio.Task[None]) -> None:
        """An owner that ended unasked stops the stage: its partition would stand still, and nobody would say so."""
        if self._fatal is None:
            error = None if task.cancelled() else task.exception()
            cause = f"{name_of(partition)}: its owner has ended: {error!r}" if error else name_of(partition)
            self._stop_with(DependencyError("owner_ended", cause, "start the service again, and report this"))

    async def until_assigned(self, partition: TopicPartition) -> None:
        await self.assignment.until_assigned(partition)

    async def _own(self, partition: TopicPartition) -> None:
        await self._consumer_ready.wait()  # a broker may assign before it has handed out the consumer
        await self._owners.predecessors(partition)
        owner = Owner(
            partition,
            self._broker,
            self._reader,
            self._factory,
            self._settings,
            self._metrics,
            self,
            self._stop_with,
            self._now,
        )
        await owner.run()

    # -- the owners' calls --

    def opened(self, lane: Lane) -> None:
        self._lanes[lane.partition] = lane
        self._wake.set()

    def closed(self, lane: Lane) -> None:
        if self._lanes.get(lane.partition) is lane:
            del self._lanes[lane.partition]
            self._admission.drop(lane.partition)
            self.consumer.pause([lane.partition])  # until its next lane reads: little is fetched to be dropped
        self.assignment.something_left()
        self._wake.set()

    def committed(self, lane: Lane, release: Release | None = None) -> None:
        if release is not None:
            self.moves[lane.partition] += 1
            self.done += release.records
        self.assignment.something_left()
        self._wake.set()

    def kept(self, lane: Lane) -> None:
        self._metrics.returned.labels(self._settings.stage, "kept").inc()
        self._wake.set()

    def settled(self, lane: Lane, offset: int) -> None:
        if self._lanes.get(lane.partition) is lane:  # a closed lane's amounts were dropped with it
            self._admission.settle(lane.partition, offset)
        if not self._thirsty or self._admission.credit() > 0:  # else the poll loop would wake to wait again
            self._wake.set()

    def _stop_with(self, error: Exception) -> None:
        if self._fatal is None:
            self._fatal = error
        self._wake.set()

    # -- the poll loop --

    async def _poll_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set() and self._fatal is None:
            self._open_ready_lanes()
            self._pause_long_lanes()
            credit = self._admission.credit()
            self._press(credit)
            if credit <= 0:
                await self._wait_for_credit()
                continue
            for record in await self._poll(credit):
                self._admit(record)
            self._metrics.admitted(self._settings.stage, self._admission.used, self._admission.limit)

    async def _poll(self, credit: int) -> list[Record]:
        """Raises DataLossError only if no owner can look into it."""
        room = self._admission.room()
        try:
            return await self.consumer.poll(
                credit, POLL_S, lambda record: room.take(self._tokens_of(record), len(record.value or b""))
            )
        except DataLossError as error:
            # A member that was thrown out and has not noticed stands where others have long been, and what they have
            # done may be deleted. The owners start over and see whether anything is lost.
            reading = [lane for lane in self._lanes.values() if lane.reading]
            if not reading:
                raise
            for lane in reading:
                lane.fail(error)
            await asyncio.sleep(POLL_S)  # until they have
            return []

    async def _wait_for_credit(self) -> None:
        self._thirsty = True
        self._wake.clear()
        self._crowd(True)
        await self._wake.wait()
        self._crowd(False)
        self._thirsty = False

    def _crowd(self, crowded: bool) -> None:
        for lane in self._lanes.values():
            lane.crowded = crowded
            if crowded and lane.backlog:
                lane.changed.set()  # what it waits for cannot come before it commits

    def _press(self, credit: int) -> None:
        """Say where the stage is full now, and why."""
        admission, paused = self._admission, [lane for lane in self._lanes.values() if lane.paused]
        cause: Cause | None = None
        state = State.THROTTLED if admission.is_throttled or paused else State.FREE
        if credit <= 0:
            state, cause = State.FULL, self._cause()
        elif paused:
            cause = paused[0].over(RESUME) or "partition_span"
            if all(lane.paused for lane in self._lanes.values()):
                state = State.FULL
        self.pressure.turn(state, cause, self._now())

    def _cause(self) -> Cause:
        """Why nothing is admitted."""
        if self._is_down():
            return "engine"
        if not self._settings.concurrent:  # what is admitted settles when it is taken into a transaction
            waiting = [lane for lane in self._lanes.values() if lane.backlog]
            if waiting and all(lane.committing for lane in waiting):
                return "broker"
        return self._admission.fullest

    def _open_ready_lanes(self) -> None:
        for lane in self._lanes.values():
            is_ours = lane.partition in self.assignment.partitions and not lane.doubted
            if is_ours and not lane.reading and lane.error is None:
                self.consumer.seek(lane.partition, lane.position)
                self.consumer.resume([lane.partition])  # paused since its last lane was closed
                lane.reading = True

    def _pause_long_lanes(self) -> None:
        """A partition over a limit waits; hysteresis, so that it does not stop and go with every document."""
        for lane in self._lanes.values():
            if not lane.reading:
                continue
            if not lane.paused and lane.is_over(1.0):
                self.consumer.pause([lane.partition])
                lane.paused = True
            elif lane.paused and not lane.is_over(RESUME):
                self.consumer.resume([lane.partition])
                lane.paused = False
        self._paused.set(sum(lane.paused for lane in self._lanes.values()))

    def _admit(self, record: Record) -> None:
        lane = self._lanes.get(record.source)
        if lane is None or not lane.reading:
            return
        lane.position, lane.stamp_ms = record.offset + 1, record.timestamp_ms
        if self._settings.concurrent and not lane.span.receive(record.offset):
            self._skipped[record.topic].inc()
            lane.settled()
            return
        self._records_in[record.topic].inc()
        self._admission.admit(record, self._tokens_of(record))
        if self._settings.concurrent:
            task = asyncio.create_task(self._work(lane, record))
            lane.work.add(task)
            task.add_done_callback(lane.work.discard)
        else:
            lane.backlog.append(record)
            lane.changed.set()

    async def _work(self, lane: Lane, record: Record) -> None:
        try:
            lane.span.settle(record.offset, await lane.handler.handle(record))
        except Exception as error:  # raised again by the lane's owner
            log.warning("record failed", partition=name_of(lane.partition), offset=record.offset, error=str(error))
            lane.fail(error)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # Not cancelled by us: something below gave up. Left alone, the record would never settle.
            lane.fail(EngineError(f"offset {record.offset}: the request was cancelled", retriable=True))
        finally:
            self.settled(lane, record.offset)
            lane.settled()

    # -- what probes and the watch are told --

    @property
    def lanes(self) -> Collection[Lane]:
        return self._lanes.values()

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        return self.assignment.partitions

    @contextmanager
    def _checked(self, health: Health) -> Iterator[None]:
        stage = self._settings.stage
        with (
            health.checked("ready", self._broker_check),
            health.checked("ready", self._partitions_check),
            health.checked("started", lambda: Check(f"member.{stage}", True)),
        ):
            yield

    def _broker_check(self) -> Check:
        return broker_check(self._settings.stage, self._stage_watch.silence_s)

    def _partitions_check(self) -> Check:
        is_open = sum(lane.reading for lane in self._lanes.values())
        return partitions_check(self._settings.stage, self.assignment.dealt, is_open, self.assignment.age_s)

    # -- the end, and side tasks --

    async def _drain(self) -> None:
        """Admit nothing new; let what is in flight settle and commit, for at most `drain_s`."""
        self.draining = True
        for lane in self._lanes.values():
            lane.changed.set()
        try:
            async with asyncio.timeout(self._settings.drain_s):
                while self._fatal is None and not all(lane.is_drained for lane in self._lanes.values()):
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            left = sum(lane.unfinished for lane in self._lanes.values())
            log.warning("drain ran out of time", stage=self._settings.stage, unfinished=left)

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _watch(self) -> None:
        try:
            await self._stage_watch.go_on()
        except Exception as error:  # raised again by `run`
            self._stop_with(error)
