"""What is in the stream of some sources: read by a producer that is to send again what is gone without an outcome."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog

from mira_stream.config import Project
from mira_stream.errors import DataLossError
from mira_stream.ingest.there import There, named
from mira_stream.progress_messages import Progress
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.progress import is_of_another_topic, stable_bounds
from mira_stream.streaming.standing_offsets import newest_of
from mira_stream.streaming.written_off import left_out, offsets_in

log: Final = structlog.get_logger("mira_stream.produce")


class Outcomes:
    """Fills `there` from the documents' topics of all groups (a source may have been in another one before), from score
    cards and dead letters.

    A document that retention has deleted may still be in a scorer's hands. So documents are read first; then it is
    made sure that the scorers are done with all that is deleted, and only then is read what they made: whatever is
    neither there nor done by then, nobody will score any more.
    """

    def __init__(self, broker: Broker, reader: LogReader, project: Project, groups: Mapping[str, str]) -> None:
        """`groups`: that of each source."""
        self.there = There(groups)
        self._broker = broker
        self._reader = reader
        self._project = project
        self._groups = sorted({*project.settings.groups, *groups.values()})
        self._next: dict[TopicPartition, int] = {}
        self._reading = asyncio.Lock()

    async def catch_up(self) -> None:
        """Read what has come since the last call. Raises DataLossError(loss_not_accepted, scores_deleted),
        DependencyError(transaction_open)."""
        async with self._reading:
            finished = False
            topic = self._project.topic("scores")
            scores_id = await self._broker.topic_id(topic) if await self._reader.partitions(topic) else ""
            for group in self._groups:
                partitions = await self._reader.partitions(self._project.documents_topic(group))
                await self._read(partitions)
                finished |= await self._check_done(group, partitions, scores_id)
            scores = await self._reader.partitions(topic)
            await self._check_scores(scores, finished)
            letters = await self._reader.partitions(self._project.topic("dead-letters"))
            for partition, (first, _) in (await self._reader.bounds(letters)).items():
                if first > self._next.get(partition, 0):
                    log.warning("dead letters are deleted, what had one counts as missing", at=partition, first=first)
            await self._read([*scores, *letters])

    async def _read(self, partitions: Sequence[TopicPartition]) -> None:
        """To where each log ends now, transactions of others that are open included."""
        ends = {partition: end for partition, (_, end) in (await stable_bounds(self._reader, partitions)).items()}
        for partition in partitions:
            while self._next.get(partition, 0) < ends[partition]:
                first = (await self._reader.bounds([partition]))[partition][0]
                start = max(first, self._next.get(partition, 0))
                try:
                    async for record in self._reader.read(partition, start, ends[partition]):
                        self._next[partition] = record.offset + 1
                        try:
                            self.there.add(named(record.value or b""))
                        except msgspec.DecodeError:
                            continue  # it names no document
                except DataLossError:
                    continue  # retention has moved the first offset meanwhile
                self._next[partition] = ends[partition]

    async def _check_done(self, group: str, partitions: Sequence[TopicPartition], scores_id: str) -> bool:
        """Whether the group's scorer has made anything of documents that is not in the topic of scores whose id is
        given. Raises DataLossError if it is not done with what is deleted of them."""
        topic, firsts = self._project.documents_topic(group), await self._reader.bounds(partitions)
        consumer_group, progress = self._project.consumer_group(f"scorer.{group}"), self._project.topic("progress")
        committed = await self._broker.committed(consumer_group, partitions)
        topic_id = await self._broker.topic_id(topic)
        finished = False
        for partition in partitions:
            newest = await newest_of(self._reader, progress, consumer_group, partition)
            left = not_done(newest, committed.get(partition), topic_id, firsts[partition][0])
            if left:
                raise DataLossError(
                    "loss_not_accepted",
                    f"{topic}/{partition.partition}: {left}; a scorer of {group} may hold what was there, and would"
                    " score it beside what is produced again",
                    f"let it go on without them first: mira-stream score --group {group} --accept-loss; then run this"
                    " again",
                )
            # Cards of a scorer that has known no other score log are in this one, or there are none: markers and dead
            # letters take offsets, too. An id is empty where the broker tells none.
            if newest is not None and not (scores_id and newest.results_id == scores_id):
                finished |= has_finished(newest)
        return finished

    async def _check_scores(self, partitions: Sequence[TopicPartition], finished: bool) -> None:
        """Raises DataLossError if cards that were there may be gone. `finished`: whether scorers may have made any."""
        topic, progress = self._project.topic("scores"), self._project.topic("progress")
        if not partitions:
            raise _scores_deleted(f"there is no topic {topic}")
        aggregator, topic_id = self._project.consumer_group("aggregator"), await self._broker.topic_id(topic)
        said = {one: await newest_of(self._reader, progress, aggregator, one) for one in partitions}
        bounds = await self._reader.bounds(partitions)
        for partition, (first, end) in bounds.items():
            if first > self._next.get(partition, 0):
                raise _scores_deleted(f"{topic}/{partition.partition} begins at {first}")
            if gone := cards_gone(said[partition], topic_id, end):
                raise _scores_deleted(f"{topic}/{partition.partition}: {gone}")
        if finished and not any(said.values()) and not any(end for _, end in bounds.values()):
            raise _scores_deleted(f"{topic} is empty, and scorers have gone on behind documents")


def not_done(progress: Progress | None, committed: int | None, topic_id: str, first: int) -> str:
    """What the scorer has not said to be done with, of a partition that begins at `first`; empty if there is nothing,
    or no scorer has ever begun, for it begins at what is there. Pure."""
    if progress is None:
        return "" if committed is None else f"the scorer has committed {committed}, and there is no progress of it"
    if is_of_another_topic(progress, topic_id):
        return "the topic was deleted and made anew, and the scorer has not begun in it"
    gone = left_out(progress.next_offset, first, progress.finished)
    if not gone:
        return ""
    return f"offsets from {gone[0][0]} to {gone[-1][1]} are deleted, {offsets_in(gone)} of them unread"


def has_finished(progress: Progress) -> bool:
    """Whether a stage has finished anything but what it was told to do without, in this log or one before it, as far
    as can be told: of very many ranges the oldest are forgotten. Pure."""
    of_log: list[tuple[int, int]] = []
    for first, last in [] if progress.written_off is None else progress.written_off.ranges:
        if last is not None:
            of_log.append((first, last))
        elif left_out(0, first, sorted(of_log)):
            return True
        else:
            of_log = []
    return bool(progress.finished or left_out(0, progress.next_offset, sorted(of_log)))


def cards_gone(aggregator: Progress | None, topic_id: str, end: int) -> str:
    """What tells that cards of a partition that ends at `end` are not those that the aggregator has read; empty if
    nothing does. Pure."""
    if aggregator is None:
        return ""
    if is_of_another_topic(aggregator, topic_id):
        return "the topic was deleted and made anew"
    if aggregator.next_offset > end:
        return f"the aggregator has read up to {aggregator.next_offset}, and it ends at {end}"
    return ""


def _scores_deleted(found: str) -> DataLossError:
    return DataLossError(
        "scores_deleted",
        f"{found}: which documents were scored before is not known, and produced again they would be decided twice",
        "restore the topic (deploy/OPERATING.md), or write the rows that have no row in the export's scores/ into a"
        " file of their own, and read the source from there: mira-stream produce files --corpus SOURCE=FILE",
    )
