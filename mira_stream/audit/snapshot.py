"""What an audit looks at while the stream may go on running.

The order of the questions matters: what a stage has committed is asked before the end of what it writes, so that
everything under a committed offset has left its traces inside the bounds.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from mira_stream.audit.standing import Standing, read_standing
from mira_stream.config import Project
from mira_stream.errors import DependencyError
from mira_stream.exporting import given_up, without_content
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.ports import Broker

Bounds = Mapping[TopicPartition, tuple[int, int]]
Committed = Mapping[TopicPartition, int]
TABLES: Final = ("scores", "kept")


class Snapshot(NamedTuple):
    """Bounds are (first retained, last stable) offsets; a partition without committed offset has 0.
    `given_up`: by partition of the decisions, first and last of those whose files were given up; `without_content`: up
    to which of them missing contents are written off."""

    documents: Bounds
    standing: Standing
    scores: Bounds
    decisions: Bounds
    dead_letters: Bounds
    epochs: Bounds
    state: Bounds
    windows: Bounds
    exports: Bounds
    policy: Bounds
    aggregated: Committed
    exported: Committed
    files: Mapping[str, list[Path]]
    given_up: Mapping[int, Sequence[tuple[int, int]]]
    without_content: Mapping[int, int]


async def take_snapshot(project: Project, broker: Broker, reader: LogReader, out: Path | None) -> Snapshot:
    """Raises DependencyError(topics_missing) if the broker knows none of the project's topics."""
    documents_topics = [project.documents_topic(group) for group in sorted(project.settings.groups)]
    exported = await _committed(broker, project.consumer_group("exporter"), await _of(reader, project, "decisions"))
    exports = await _bounds(reader, await _of(reader, project, "exports"))
    documents = await _bounds(reader, [p for topic in documents_topics for p in await reader.partitions(topic)])
    if not documents:
        raise DependencyError(
            "topics_missing",
            f"the broker has none of {', '.join(documents_topics)}",
            "name the broker that the stream ran on with --bootstrap-servers, and its project with --project",
        )
    standing = await read_standing(project, broker, reader, documents, await _of(reader, project, "decisions"))
    scores = await _bounds(reader, await _of(reader, project, "scores"))
    aggregated = await _committed(broker, project.consumer_group("aggregator"), scores)
    files = {table: _files(out, table) for table in TABLES}
    return Snapshot(
        documents=documents,
        standing=standing,
        scores=scores,
        decisions=await _bounds(reader, await _of(reader, project, "decisions")),
        dead_letters=await _bounds(reader, await _of(reader, project, "dead-letters")),
        epochs=await _bounds(reader, await _of(reader, project, "epochs")),
        state=await _bounds(reader, await _of(reader, project, "state")),  # before the summaries that it knows of
        windows=await _bounds(reader, await _of(reader, project, "windows")),
        exports=exports,
        policy=await _bounds(reader, await _of(reader, project, "policy")),
        aggregated=aggregated,
        exported=exported,
        files=files,
        given_up={} if out is None else given_up(out, project.topic("exports")),
        without_content={} if out is None else without_content(out, project.topic("exports")),
    )


async def _of(reader: LogReader, project: Project, name: str) -> list[TopicPartition]:
    return await reader.partitions(project.topic(name))


async def _bounds(reader: LogReader, partitions: list[TopicPartition]) -> Bounds:
    return await reader.bounds(partitions) if partitions else {}


async def _committed(
    broker: Broker, consumer_group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    wanted = list(partitions)
    found = await broker.committed(consumer_group, wanted) if wanted else {}
    return {partition: found.get(partition, 0) for partition in wanted}


def _files(out: Path | None, table: str) -> list[Path]:
    """Finished files of a table; staged ones have hidden names."""
    if out is None:
        return []
    return sorted(path for path in out.glob(f"{table}/*/*.parquet") if not path.name.startswith("."))
