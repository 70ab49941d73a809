"""The folder producer: new files and growing JSON Lines, without end.

It shares feeds, positions and transactional id with the file producer: whichever runs goes on where the other stopped,
and only one can. Each transaction holds documents, dead letters and positions, as there.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from mira_stream.clock import Monotonic, monotonic
from mira_stream.config import Project
from mira_stream.ingest.folder import FolderReader
from mira_stream.ingest.positions import Positions
from mira_stream.streaming.backlog import Backlog
from mira_stream.streaming.folder_watch import FolderWatch, Watched
from mira_stream.streaming.health import Health
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.ports import Broker

from .owning import own

EVERY_S: Final = 1.0


async def watch(
    broker: Broker,
    project: Project,
    reader: FolderReader,
    metrics: IngestMetrics,
    stop: asyncio.Event,
    *,
    health: Health | None = None,
    lag_max: int = 0,
    every_s: float = EVERY_S,
    now: Monotonic = monotonic,
    looked: Callable[[Watched], None] = lambda watched: None,
) -> Watched:
    """Look at the folder every `every_s` seconds until `stop` is set; then the transaction under way is the last.

    With `lag_max` nothing is committed while the scorer is more offsets behind, or nobody knows how far. `looked` is
    called after each look. A broker that cannot be used is tried again, ever more seldom; it goes on where it stopped.
    Raises ConfigError if the folder cannot be listed at the start; later it is waited for. Raises DependencyError if
    the broker cannot be reached at the start, or another process takes the feed over.
    """
    reading = await broker.reader()
    watching = FolderWatch(project, reader, Positions(reading, project.topic("ingest")), metrics, stop, every_s, now)
    watching.looked = looked
    backlog = Backlog(broker, {reader.topic: project.consumer_group(f"scorer.{reader.group}")}, lag_max, metrics)
    watching.full = lambda: backlog.unknown() is not None or backlog.full(reader.topic)
    transactional_id = project.topic(f"produce.{reader.feed}")
    looking = asyncio.create_task(backlog.run(), name="backlog")
    keeping = asyncio.create_task(
        watching.keep(lambda: own(broker, transactional_id, reader.feed, watching.run)), name="feed"
    )
    health = health or Health()
    try:
        with ExitStack() as checks:
            checks.enter_context(health.checked("started", watching.started))
            for look in (watching.ready, watching.usable, backlog.ready):
                checks.enter_context(health.checked("ready", look))
            await asyncio.wait([keeping, looking], return_when=asyncio.FIRST_COMPLETED)
            await (keeping if keeping.done() else looking)
    finally:
        for task in (keeping, looking):
            task.cancel()
        await asyncio.gather(keeping, looking, return_exceptions=True)
        await reading.close()
    watching.watched.refused = reader.refused
    return watching.watched
