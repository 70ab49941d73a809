"""What a cascade's scorer follows beside its documents: the thresholds that its sources are decided by."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from mira_stream.cascade import Pair
from mira_stream.config import Project
from mira_stream.parquet import column_names, read_columns, read_metadata
from mira_stream.reliability.acceptance import served_modes
from mira_stream.reliability.cascading import PAIRED, pairs_of
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.published import PublishedThresholds
from mira_stream.streaming.ports import Broker

log = structlog.get_logger("mira_stream.scorer")
LOOK_S: Final = 1.0


@asynccontextmanager
async def cascade_thresholds(project: Project, broker: Broker, group: str) -> AsyncIterator[PublishedThresholds | None]:
    """Followed until the end of the block; None for a group that is no cascade, or whose sources all fall back."""
    settings = served_modes(project, group).project.settings.groups[group]
    if settings.mode != "cascade":
        yield None
        return
    own, reader = lineage(project, group), await broker.reader()
    try:
        topics, pairs = (project.topic("policy"), project.topic("epochs")), held_out_pairs(project, group, own)
        scores_key = project.settings.topics.scores_key
        published = PublishedThresholds(topics, group, own, settings.cascade.loss, pairs, reader, scores_key=scores_key)
        looking = asyncio.create_task(_look(published, group))
        try:
            yield published
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
    finally:
        await reader.close()


def held_out_pairs(project: Project, group: str, own: str) -> dict[str, list[Pair]]:
    """By source; none if the group was not measured as it is now: then nothing is certain, and that is said."""
    path = project.labels_path(group)
    if path.is_file() and set(PAIRED) <= set(column_names(path)) and read_metadata(path).get("student_lineage") == own:
        return pairs_of(read_columns(path, PAIRED))
    log.warning(
        "the cascade is not measured: every document goes to the full stage",
        group=group,
        fix=f"mira-stream reliability --group {group} --project {project.root}",
    )
    return {}


async def _look(published: PublishedThresholds, group: str) -> None:
    """A look that fails, however, is said once and tried again; what was known ends by itself when it is too old."""
    said = False
    while True:
        try:
            await published.refresh()
            said = False
        except Exception as error:  # an end of the looks would be seen by nobody
            if not said:
                log.warning("the thresholds in force cannot be read", group=group, error=str(error) or repr(error))
            said = True
        await asyncio.sleep(LOOK_S)
