"""A changed project beside the live stream: it scores and decides on the same documents, into topics of its own.

Nothing of it reaches the live topics. It stands back: while the live scorer has more waiting than it may take in
flight, the shadow fetches nothing.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.errors import DependencyError
from mira_stream.parquet import read_columns
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.publish import publish
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.positions import lag, skip_deleted
from mira_stream.streaming.service import first_error
from mira_stream.streaming.standing_back import StandingBack
from mira_stream.streaming.topics import topic_specs

from .aggregator import aggregate
from .scorer import EngineBuilder, build_engine, score

log = structlog.get_logger("mira_stream.shadow")

IN_FLIGHT_SHARE: Final = 0.25
"""Of the project's limits: what a shadow has in flight at most."""
LOOK_S: Final = 1.0


async def shadow(
    project: Project,
    broker: Broker,
    groups: Sequence[str],
    metrics: Metrics,
    stop: asyncio.Event,
    *,
    stand_back: bool = True,
    engine_for: EngineBuilder = build_engine,
    accept_loss: bool = False,
    instance: str = "",
) -> None:
    """Score and decide as `project`, a shadow, until `stop` is set. Warnings of its policy are logged."""
    await broker.create_topics(topic_specs(project), project.settings.topics.replication_factor)
    for warning in (await publish(broker, project, lineage, read_columns)).warnings:
        log.warning(warning)
    await _pass_over_deleted(project, broker, groups)
    clear = asyncio.Event()
    behind = StandingBack(broker, clear) if stand_back else broker
    try:
        async with asyncio.TaskGroup() as tasks:
            scoring = score(
                _modest(project), behind, groups, metrics, stop, engine_for, accept_loss=accept_loss, instance=instance
            )
            services = [
                tasks.create_task(scoring),
                tasks.create_task(aggregate(project, broker, metrics, stop, instance=instance)),
            ]
            looking = tasks.create_task(_look(project, broker, groups, clear)) if stand_back else None
            await asyncio.gather(*services)
            if looking is not None:
                looking.cancel()
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors


async def _look(project: Project, broker: Broker, groups: Sequence[str], clear: asyncio.Event) -> None:
    """Keep `clear` in step with how much the live scorer has waiting."""
    live = replace(project, shadow="")
    room = live.settings.limits.in_flight_documents
    scorers = {live.consumer_group(f"scorer.{group}"): live.documents_topic(group) for group in groups}
    reader = await broker.reader()
    try:
        while True:
            try:
                lags = [await lag(broker, reader, name, await reader.partitions(of)) for name, of in scorers.items()]
                waiting = sum(lags)
            except DependencyError as error:
                log.warning("the live scorer's lag is unknown: standing back", error=str(error))
                waiting = room + 1
            if waiting <= room and not clear.is_set():
                log.info("the way is clear")
                clear.set()
            elif waiting > room and clear.is_set():
                log.info("stands back", waiting=waiting)
                clear.clear()
            await asyncio.sleep(LOOK_S)
    finally:
        await reader.close()


async def _pass_over_deleted(project: Project, broker: Broker, groups: Sequence[str]) -> None:
    """A shadow sees what is still there: it may leave documents out, since nothing depends on it."""
    reader = await broker.reader()
    try:
        for group in groups:
            partitions = await reader.partitions(project.documents_topic(group))
            name, progress = project.consumer_group(f"scorer.{group}"), project.topic("progress")
            await skip_deleted(broker, reader, name, partitions, progress)
    finally:
        await reader.close()


def _modest(project: Project) -> Project:
    limits = project.settings.limits
    less = {
        name: max(1, int(IN_FLIGHT_SHARE * getattr(limits, name)))
        for name in ("in_flight_documents", "in_flight_tokens", "in_flight_bytes")
    }
    return replace(project, settings=replace(project.settings, limits=replace(limits, **less)))
