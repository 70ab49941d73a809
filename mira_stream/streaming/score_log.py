"""Whether each group's next card goes where its state of record is (selecting/homes.py has the reason)."""

from collections.abc import Mapping

from mira_stream.config import Project
from mira_stream.errors import DataLossError
from mira_stream.selecting.homes import homes, moved, widened
from mira_stream.streaming.partitioner import partition_of
from mira_stream.streaming.ports import Broker


async def check_score_log(project: Project, broker: Broker) -> None:
    """Before anything is written. Raises DataLossError: score_log_moved, score_log_widened."""
    problem = await examine(project, broker)
    if problem is not None:
        raise problem


async def examine(project: Project, broker: Broker) -> DataLossError | None:
    """What is wrong with the score log's partitions, if anything is."""
    topics = [project.topic(name) for name in ("scores", "state", "epochs", "windows")]
    reader = await broker.reader()
    try:
        counts = {topic: len(await reader.partitions(topic)) for topic in topics}
        if not all(counts.values()):
            return None  # whoever needs a topic that is not there says so
        return verdict(project, counts, await homes(reader, project.topic("state")))
    finally:
        await reader.close()


def verdict(project: Project, counts: Mapping[str, int], found: Mapping[str, frozenset[int]]) -> DataLossError | None:
    """Pure. `counts`: partitions of mira.scores and of the topics that go by its partition numbers."""
    scores, state = project.topic("scores"), project.topic("state")
    for group in sorted(found.keys() & project.settings.groups.keys()):
        key = group if project.settings.topics.scores_key == "group" else "all"
        to = partition_of(key.encode(), counts[scores])
        others = found[group] - {to}
        if others:
            return moved(group, scores, to, state, min(others))
    for topic, count in counts.items():
        if count != counts[scores]:
            return widened(scores, counts[scores], topic, count)
    return None
