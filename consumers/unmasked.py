"""Whether an aggregator can decide on what a scorer is about to score: said at its start, for scores are paid for."""

import asyncio

import structlog

from mira_stream.config import Project
from mira_stream.errors import MiraError
from mira_stream.reliability.acceptance import served_modes
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.following import PolicyFollower
from mira_stream.streaming.ports import Broker

log = structlog.get_logger("mira_stream.scorer")


async def say_unmasked(project: Project, broker: Broker, group: str) -> None:
    """Warn of the group's sources for whose lineage no mask is in force: their cards become dead letters, and 50 in a
    row stop the aggregator. No more than a warning: the masks may come while documents are scored."""
    try:
        reader = await broker.reader()
        try:
            follower = PolicyFollower(project.topic("policy"), reader, project.settings.topics.scores_key)
            await follower.refresh()
        finally:
            await reader.close()
    except MiraError as error:
        log.warning("whether there are masks for what is scored is not known", group=group, error=str(error))
        return
    lineages = await asyncio.to_thread(_lineages, project, group)
    unmasked = {name: own for name, own in lineages.items() if follower.log.rules(group, name, own) is None}
    if unmasked:
        log.warning(
            "no mask is in force for what this scorer scores, so that nothing of it can be decided",
            group=group,
            sources=sorted(unmasked),
            lineages=sorted(set(unmasked.values())),
            fix=f"mira-stream prepare --project {project.root} (before services start, and after each change of"
            " student, prompt, rubric or mode)",
        )


def _lineages(project: Project, group: str) -> dict[str, str]:
    """That of the cards of each source of mira.toml; seconds a GB of student, the first time."""
    modes = served_modes(project, group)
    sources = [name for name, section in project.settings.sources.items() if section.group == group]
    return {name: lineage(modes.project_of(name), group) for name in sources}
