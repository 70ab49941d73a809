"""A changed project beside the live stream: it scores and decides on the same documents, into topics of its own.

Nothing of it reaches the live topics. It stands back, each group by itself: while the live scorer has more waiting
than twice what an engine may take in flight, the shadow fetches nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.errors import DependencyError
from mira_stream.parquet import read_columns
from mira_stream.records import LogReader
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.publish import commit_policy, publish
from mira_stream.selecting.shadowing import as_live
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.progress import newest_progress, place_for
from mira_stream.streaming.service import first_error
from mira_stream.streaming.standing_back import StandingBack
from mira_stream.streaming.topics import topic_specs

from .aggregator import aggregate
from .scorer import EngineBuilder, build_engine, score

log = structlog.get_logger("mira_stream.shadow")

IN_FLIGHT_SHARE: Final = 0.25
"""Of the project's limits: what a shadow has in flight at most."""
LOOK_S: Final = 1.0
ROOM: Final = 2
"""Times an engine's own limit: so much may wait for the live scorer before a shadow stands back."""
MARKERS: Final = 2
"""Offsets of a partition that may be transaction markers behind its last document."""


async def shadow(
    project: Project,
    broker: Broker,
    groups: Sequence[str],
    metrics: Metrics,
    stop: asyncio.Event,
    *,
    stand_back: bool = True,
    engine_for: EngineBuilder = build_engine,
    instance: str = "",
) -> None:
    """Score and decide as `project`, a shadow, until `stop` is set. Asked of it is what the project's files say,
    and over that what has been set by command of the live stream by now. Warnings of its policy are logged."""
    own = [spec for spec in topic_specs(project) if spec.name.startswith(project.topic(""))]
    await broker.create_topics(own, project.settings.topics.replication_factor)  # never one of the live stream's
    await _ask_as_live(project, broker)
    for warning in (await publish(broker, project, lineage, read_columns)).warnings:
        log.warning(warning)
    live = replace(project, shadow="")
    clear = {live.documents_topic(group): asyncio.Event() for group in groups}
    behind = StandingBack(broker, clear) if stand_back else broker
    # What retention takes while the shadow stands back is no loss: nothing depends on a shadow.
    scoring = score(_modest(project), behind, groups, metrics, stop, engine_for, accept_loss=True, instance=instance)
    try:
        async with asyncio.TaskGroup() as tasks:
            services = [
                tasks.create_task(scoring),
                tasks.create_task(aggregate(project, broker, metrics, stop, instance=instance)),
            ]
            looking = tasks.create_task(_look(live, broker, groups, clear, metrics)) if stand_back else None
            await asyncio.gather(*services)
            if looking is not None:
                looking.cancel()
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors


async def _ask_as_live(project: Project, broker: Broker) -> None:
    """Before the project's own policy is published, which leaves what was set by command."""
    reader = await broker.reader()
    try:
        live = PolicyFollower(replace(project, shadow="").topic("policy"), reader, project.settings.topics.scores_key)
        await live.refresh()
    finally:
        await reader.close()
    written, _ = await commit_policy(broker, project, lambda own: [*as_live(live.log, own, project.settings)])
    if written:
        log.info("asked as the live stream is", keys=sorted(key for key, _ in written))


async def _look(
    live: Project, broker: Broker, groups: Sequence[str], clear: Mapping[str, asyncio.Event], metrics: Metrics
) -> None:
    """Keep `clear` in step with how much the live scorer has waiting, each group by itself."""
    limits, reader = live.settings.limits, await broker.reader()
    said: dict[str, bool] = {}
    try:
        while True:
            for group in groups:
                gate = clear[live.documents_topic(group)]
                try:
                    waiting, markers = await _waiting(live, broker, reader, group)
                except DependencyError as error:
                    log.warning("the live scorer's lag is unknown: stands back", group=group, error=str(error))
                    gate.clear()
                    continue
                free = waiting <= ROOM * limits.in_flight_documents + markers
                (gate.set if free else gate.clear)()
                metrics.stands_back.labels(group).set(not free)
                if said.get(group) is not free:
                    said[group] = free
                    log.info("the way is clear" if free else "stands back", group=group, waiting=waiting)
            await asyncio.sleep(LOOK_S)
    finally:
        await reader.close()


async def _waiting(live: Project, broker: Broker, reader: LogReader, group: str) -> tuple[int, int]:
    """Offsets behind the last document of the group that the live scorer has finished, in whatever order; and how many
    of these may be markers of transactions."""
    partitions = await reader.partitions(live.documents_topic(group))
    scorer, progress = live.consumer_group(f"scorer.{group}"), live.topic("progress")
    committed, bounds = await broker.committed(scorer, partitions), await reader.bounds(partitions)
    waiting = 0
    for partition, (first, end) in bounds.items():
        newest = await newest_progress(reader, await place_for(reader, progress, partition), scorer, partition)
        finished = newest.finished[-1][1] + 1 if newest is not None and newest.finished else 0
        waiting += max(0, end - max(first, finished, committed.get(partition, 0)))
    return waiting, MARKERS * len(partitions)


def _modest(project: Project) -> Project:
    limits = project.settings.limits
    less = {
        name: max(1, int(IN_FLIGHT_SHARE * getattr(limits, name)))
        for name in ("in_flight_documents", "in_flight_tokens", "in_flight_bytes")
    }
    return replace(project, settings=replace(project.settings, limits=replace(limits, **less)))
