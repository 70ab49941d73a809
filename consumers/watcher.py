"""The watch: decisions in, the teacher's labels of a share of them out, and how every cell stands by them.

It has consumer groups of its own: however slow the teacher is, the stream does not wait for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from mira_stream.config import Project
from mira_stream.records import LogReader, TopicPartition
from mira_stream.reliability.monitor import Monitor, Status
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.looks import Looks, Tell
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.positions import lag, oldest_ms, skip_deleted, until_idle
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.service import first_error
from mira_stream.streaming.settings import RunnerSettings
from mira_stream.streaming.watch_metrics import WatchMetrics
from mira_stream.watching.desk import Desk
from mira_stream.watching.follower import LabelFollower
from mira_stream.watching.handler import WatchingFactory
from mira_stream.watching.ports import WatchMetrics as Counts
from mira_stream.watching.sampling import Sampling

IN_FLIGHT: Final = Amount(2_000, 2**31, 64 * 2**20)
"""Most decisions are not in the sample and settle at once; the teacher's own limits hold back the others."""
DRAIN_S: Final = 5.0
"""What the desk has waited for is committed; questions that it did not send any more do not settle."""

OpenDesk = Callable[[tuple[int, int], Counts], Desk]
"""Makes the desk once it is known what (prompt, generation) tokens the topic's labels have cost."""


class Plan(NamedTuple):
    """`once`: end when all decisions that were there at the start are looked at, and close the newest span."""

    groups: Sequence[str]
    sampling: Sampling
    span_ms: int
    once: bool = False


async def watch(
    project: Project,
    broker: Broker,
    plan: Plan,
    open_desk: OpenDesk,
    metrics: Metrics,
    stop: asyncio.Event,
    tell: Tell = lambda status: None,
) -> tuple[Status, LabelFollower]:
    """Label until `stop` is set; `tell` hears of the status whenever it is looked at. Raises BudgetReached, and
    StageStopped for a teacher that cannot be asked."""
    counts = WatchMetrics(metrics.registry)
    reader = await broker.reader()
    try:
        monitor = Monitor(project.settings.mask.limits, plan.span_ms)
        follower = LabelFollower(reader, project.topic("teacher-labels"), plan.groups, monitor)
        await follower.refresh()
        desk = open_desk((follower.prompt_tokens, follower.generation_tokens), counts)
        decisions = await reader.partitions(project.topic("decisions"))
        lags = {g: partial(lag, broker, reader, consumer_group(project, g), decisions) for g in plan.groups}
        oldest = [partial(oldest_ms, broker, reader, consumer_group(project, g), decisions) for g in plan.groups]
        looks = Looks(follower, monitor, counts, tell, lags, oldest)
        try:
            async with asyncio.TaskGroup() as beside:
                sides = [beside.create_task(looks.go_on())]
                if plan.once:
                    sides.append(beside.create_task(_stop_when_idle(project, broker, plan, reader, decisions, stop)))
                asked = asyncio.Event()
                sides.append(beside.create_task(_when_asked(desk, stop, asked)))
                async with asyncio.TaskGroup() as runners:
                    for group in plan.groups:
                        counts.missed(await skip_deleted(broker, reader, consumer_group(project, group), decisions))
                        factory = await asyncio.to_thread(WatchingFactory, project, group, plan.sampling, desk, counts)
                        runner = Runner(broker, watcher_settings(project, group), factory, metrics)
                        runners.create_task(runner.run(asked))
                for side in sides:
                    side.cancel()
        except BaseExceptionGroup as errors:
            raise first_error(errors) from errors
        return await looks.last(closing_all=plan.once, span_ms=plan.span_ms), follower
    finally:
        await reader.close()


async def _when_asked(desk: Desk, stop: asyncio.Event, asked: asyncio.Event) -> None:
    """The runners stop behind the desk: an answer under way is paid for."""
    await desk.attend(stop)
    asked.set()


async def _stop_when_idle(
    project: Project,
    broker: Broker,
    plan: Plan,
    reader: LogReader,
    decisions: Sequence[TopicPartition],
    stop: asyncio.Event,
) -> None:
    ends = {partition: end for partition, (_, end) in (await reader.bounds(decisions)).items()}
    for group in plan.groups:
        await until_idle(broker, reader, consumer_group(project, group), ends)
    stop.set()


def consumer_group(project: Project, group: str) -> str:
    """A group of its own for each source group: any of them may be watched, or watched elsewhere, at any time."""
    return project.consumer_group(f"watcher.{group}")


def watcher_settings(project: Project, group: str) -> RunnerSettings:
    limits = project.settings.limits
    return RunnerSettings(
        stage=f"watch.{group}",
        consumer_group=consumer_group(project, group),
        topics=(project.topic("decisions"),),
        writes=(project.topic("teacher-labels"),),
        concurrent=True,
        limit=IN_FLIGHT,
        partition_span=IN_FLIGHT.documents,
        transaction_records=limits.transaction_records,
        transaction_linger_s=limits.transaction_linger_s,
        drain_s=DRAIN_S,
    )
