"""Where the scorers stand in their documents' topics: by what they have committed, and by the Progress beside it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from mira_stream.config import Project
from mira_stream.progress_messages import Progress, WrittenOff
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.progress import is_of_another_topic, newest_seen, results_gone
from mira_stream.streaming.written_off import left_out

GONE: Final = "no such topic"


class Standing(NamedTuple):
    """`scored`: the committed offset, where the broker has forgotten it that of the Progress, else 0. `unread`: first
    and last of what was deleted and is not finished; nothing where a scorer has never committed, for it begins then at
    what is there. `anew`: of a partition whose topic was deleted and made anew since, up to where the one before was
    finished; `gone`: the same where there is no such topic any more. `cards_gone`: of a partition whose cards went to a
    score log that is not there any more, up to where they did. `written_off`: by partition of documents and, of the
    exporter, of decisions."""

    scored: Mapping[TopicPartition, int]
    unread: Mapping[TopicPartition, Sequence[tuple[int, int]]]
    anew: Mapping[TopicPartition, int]
    gone: Mapping[TopicPartition, int]
    cards_gone: Mapping[TopicPartition, int]
    written_off: Mapping[TopicPartition, WrittenOff]

    @property
    def not_the_first(self) -> Collection[TopicPartition]:
        """Partitions whose log was made anew, and that was accepted."""
        return {partition for partition, said in self.written_off.items() if said.rests}


async def read_standing(
    project: Project,
    broker: Broker,
    reader: LogReader,
    documents: Mapping[TopicPartition, tuple[int, int]],
    decisions: Sequence[TopicPartition],
) -> Standing:
    """`documents`: first retained and last stable offset of each partition, asked before. Raises DependencyError,
    DataLossError(progress_unreadable)."""
    groups = {project.documents_topic(group): project.consumer_group(f"scorer.{group}") for group in _groups(project)}
    ids = {topic: await broker.topic_id(topic) for topic in sorted({partition.topic for partition in documents})}
    committed: dict[TopicPartition, int] = {}
    for topic in ids:
        own = [partition for partition in documents if partition.topic == topic]
        committed |= await broker.committed(groups[topic], own)
    readers = [(groups[partition.topic], partition) for partition in documents]
    exporter = [(project.consumer_group("exporter"), partition) for partition in decisions]
    away = await _away(project, reader, groups.keys() - ids.keys())
    readers += [(groups[partition.topic], partition) for partition in away]
    said = await newest_seen(reader, project.topic("progress"), [*readers, *exporter])
    anew = {p: said[p].next_offset for p in documents if p in said and is_of_another_topic(said[p], ids[p.topic])}
    own = [partition for partition in documents if partition not in anew]
    scores = project.topic("scores")
    scores_id = await broker.topic_id(scores) if await reader.partitions(scores) else GONE
    unread = {p: _unread(documents[p][0], committed.get(p), said.get(p)) for p in own}
    return Standing(
        scored={p: 0 if p in anew else _scored(committed.get(p), said.get(p)) for p in documents},
        unread={partition: ranges for partition, ranges in unread.items() if ranges},
        anew=anew,
        gone={partition: said[partition].next_offset for partition in away if partition in said},
        cards_gone={p: said[p].next_offset for p in documents if p in said and results_gone(said[p], scores_id)},
        written_off={p: found for p, one in sorted(said.items()) if (found := one.written_off) is not None},
    )


async def _away(project: Project, reader: LogReader, topics: Collection[str]) -> list[TopicPartition]:
    """Partitions that topics which are not there may have had: as many as are asked for, or as Progress has."""
    if not topics:
        return []
    most = max(project.settings.topics.partitions, len(await reader.partitions(project.topic("progress"))))
    return [TopicPartition(topic, number) for topic in sorted(topics) for number in range(most)]


def _groups(project: Project) -> list[str]:
    return sorted(project.settings.groups)


def _scored(committed: int | None, progress: Progress | None) -> int:
    if committed is not None:
        return committed
    return 0 if progress is None else progress.next_offset


def _unread(first: int, committed: int | None, progress: Progress | None) -> list[tuple[int, int]]:
    if progress is not None:
        return left_out(progress.next_offset, first, progress.finished)
    return [] if committed is None else left_out(committed, first, ())
