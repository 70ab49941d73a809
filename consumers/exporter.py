"""The exporter: decisions in, Parquet out."""

import asyncio
from pathlib import Path
from typing import Final

import structlog

from mira_stream.config import Project
from mira_stream.errors import FolderAway
from mira_stream.exporting import ExportingFactory, OutFolder, epoch_columns, finish_exports, window_columns
from mira_stream.exporting.schema import EPOCHS, WINDOWS
from mira_stream.exporting.staging import in_thread, writing
from mira_stream.messages import Export, encode
from mira_stream.parquet import open_table, write_table
from mira_stream.records import Outgoing
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.export_folder import ExportFolder
from mira_stream.streaming.health import Check, Health
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.service import done_before
from mira_stream.streaming.settings import RunnerSettings
from mira_stream.streaming.standing_offsets import rewind

log: Final = structlog.get_logger("mira_stream.export")

FILE_DECISIONS: Final = 5_000
"""Decisions in one file at most; fewer when `FILE_LINGER_S` is over first."""
FILE_LINGER_S: Final = 2.0
AWAY_S: Final = 2.0
"""So often it is looked, before the group is joined, whether the folder is there."""
IN_FLIGHT: Final = Amount(4 * FILE_DECISIONS, 2**31, 64 * 2**20)


async def export(
    project: Project,
    broker: Broker,
    out: Path,
    metrics: Metrics,
    stop: asyncio.Event,
    *,
    accept_loss: bool = False,
    from_start: bool = False,
    instance: str = "",
) -> None:
    """Write decisions under `out` until `stop` is set: `scores/<source>/` all, `kept/<source>/` the selected ones.
    `from_start`: all decisions that the broker still holds, again, into a folder that is empty.

    A folder that is gone, cannot be written to or is full is waited for: nothing is committed meanwhile. At the start
    that is done outside the consumer group: another exporter, whose folder is there, keeps all partitions.
    """
    settings = RunnerSettings(
        stage="export",
        consumer_group=project.consumer_group("exporter"),
        topics=(project.topic("decisions"),),
        writes=(project.topic("exports"),),
        concurrent=False,
        limit=IN_FLIGHT,
        partition_span=FILE_DECISIONS,
        transaction_records=FILE_DECISIONS,
        transaction_linger_s=FILE_LINGER_S,
        drain_s=project.settings.limits.drain_s,
        accept_loss=accept_loss,
        progress=project.topic("progress"),
        instance=instance,
    )
    folder = OutFolder(out, project.topic("exports"), accept_loss=accept_loss)
    if from_start:
        await _begin_anew(project, broker, folder)
    factory = ExportingFactory(folder, open_table, metrics)
    tried = ExportFolder(folder)
    trying = asyncio.create_task(tried.go_on())
    try:
        with metrics.exporting(tried.why), metrics.health.checked("ready", tried.check):
            if await done_before(stop, _until_there(broker, folder, metrics.health)):
                await Runner(broker, settings, factory, metrics).run(stop)
    finally:
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)
    reader = await broker.reader()
    try:
        await finish_exports(reader, folder)
    finally:
        await reader.close()


def _begun() -> Check:
    """To start it again would not bring the folder."""
    return Check("export_folder", True)


async def _until_there(broker: Broker, folder: OutFolder, health: Health) -> None:
    reader = await broker.reader()
    try:
        await folder.look_back(reader)
    finally:
        await reader.close()
    away = await _away(folder)
    if away is None:
        return
    log.warning("waits for its folder before it takes partitions", error=str(away))
    with health.checked("started", _begun):
        while away is not None:
            await asyncio.sleep(AWAY_S)
            away = await _away(folder)


async def _away(folder: OutFolder) -> FolderAway | None:
    try:
        await in_thread(folder.check)
    except FolderAway as error:
        return error
    return None


async def _begin_anew(project: Project, broker: Broker, folder: OutFolder) -> None:
    """Set every partition back to its first decision, and then begin the folder: killed in between, it is refused until
    it is done again. Raises UsageError(export_there)."""
    await in_thread(folder.check_empty)
    exporter, exports, progress = (
        project.consumer_group("exporter"),
        project.topic("exports"),
        project.topic("progress"),
    )
    reader = await broker.reader()
    try:
        begun = []
        for partition in await reader.partitions(project.topic("decisions")):
            number = partition.partition

            def said_of(first: int, number: int = number) -> Outgoing:
                return Outgoing(exports, str(number).encode(), encode(_anew(number, first)), number)

            first = await rewind(broker, reader, progress, exporter, partition, said_of)
            begun.append(_anew(number, first))
            log.info("exports anew", partition=number, first=first)
    finally:
        await reader.close()
    await in_thread(folder.begin, begun)


def _anew(number: int, first: int) -> Export:
    return Export(partition=number, first=first, last=first - 1, files=[], anew=True)


async def export_epochs(project: Project, broker: Broker, out: Path) -> None:
    """Write all epochs and window summaries of the log to `out`/epochs.parquet and windows.parquet, replacing them."""
    reader = await broker.reader()
    try:
        epochs = await epoch_columns(reader, project.topic("epochs"))
        windows = await window_columns(reader, project.topic("windows"))
    finally:
        await reader.close()
    with writing(out):
        write_table(out / "epochs.parquet", EPOCHS, epochs)
        write_table(out / "windows.parquet", WINDOWS, windows)
