"""What must be in a broker before services start: topics, then what decides."""

from mira_stream.config import Project
from mira_stream.parquet import read_columns
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.publish import publish
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.score_log import check_score_log
from mira_stream.streaming.topics import topic_specs


async def prepare(broker: Broker, project: Project) -> list[str]:
    """Create the project's topics, publish its policy and masks; standing warnings. Does nothing twice, and undoes
    nothing that was set by command. Raises DataLossError (streaming/score_log.py)."""
    await broker.create_topics(topic_specs(project), project.settings.topics.replication_factor)
    await check_score_log(project, broker)
    published = await publish(broker, project, lineage, read_columns)
    kept = f"set by command, and not as the project says: {', '.join(published.kept)}; `mira-stream policy apply`"
    return [*published.warnings, *([f"{kept} makes it hold what mira.toml says"] if published.kept else [])]
