"""The handler of one partition of `decisions`: of those the sample takes, the teacher's label; nothing of the others.

The label and the offset of its decision are committed in one transaction. A watch that was killed asks again for what
was not committed, and its journal answers what was paid for. A watch whose offsets are lost (the broker forgets those
of a group that stays away) begins anew and leaves out what is labelled.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from mira_stream.config import Project
from mira_stream.errors import ConfigError, DataLossError, DocumentError
from mira_stream.label_messages import TeacherLabel
from mira_stream.messages import DIMENSIONS, CardPosition, Decision, decoder, encode
from mira_stream.prompt import load_prompt
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition, trace_of
from mira_stream.reliability.acceptance import served_modes
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.documents import cut_bytes
from mira_stream.scoring.limit import DeadLetterLimit
from mira_stream.scoring.lineage import lineage_of
from mira_stream.scoring.registered import Registered
from mira_stream.scoring.tokenizer import StudentTokenizer, tokenize_bytes
from mira_stream.scoring.views import view_of
from mira_stream.teaching.port import Question
from mira_stream.watching.contents import document_of
from mira_stream.watching.desk import Desk, Reply
from mira_stream.watching.ports import WatchMetrics
from mira_stream.watching.sampling import Sampling, Taken, origin_name

ERROR_BYTES_MAX: Final = 2000
OTHER_LINEAGE: Final = "other_lineage"
_decode: Final = decoder(Decision).decode
_decode_label: Final = decoder(TeacherLabel).decode


class WatchingFactory:
    """Makes the handlers of one source group; they share desk and sampling.

    Raises ConfigError if rubric, prompts or student are wrong. Hashes the student, which takes seconds a GB.
    """

    def __init__(self, project: Project, group: str, sampling: Sampling, desk: Desk, metrics: WatchMetrics) -> None:
        self.project = project
        self.group = group
        self.settings = project.settings.groups[group]
        self.rubric = load_rubric(project.rubric_path(group))
        self.prompt = load_prompt(project.prompts_path(group), self.rubric)
        judgings = served_modes(project, group).projects
        self.lineages = sorted(lineage_of(judging, group, self.rubric, self.prompt) for judging in judgings)
        folder = project.served_path(group)
        tokenizer = StudentTokenizer(folder) if (folder / "tokenizer.json").is_file() else None
        self.tokenize = tokenize_bytes if tokenizer is None else tokenizer.tokenize
        self.special_tokens = () if tokenizer is None else tokenizer.special_tokens
        self.registered = Registered(project.topic("policy"), project.settings.sources)
        self.sampling = sampling
        self.desk = desk
        self.metrics = metrics
        self.limit = DeadLetterLimit(f"watch.{group}", project.settings.limits.dead_letters_in_a_row)
        self.topic = project.topic("teacher-labels")

    def __call__(self, partition: TopicPartition, reader: LogReader) -> "WatchingHandler":
        return WatchingHandler(self, TopicPartition(self.topic, partition.partition), reader)


class WatchingHandler:
    """A streaming.ports.Handler; works on many decisions at once. `labels`: the partition it writes to."""

    def __init__(self, factory: WatchingFactory, labels: TopicPartition, reader: LogReader) -> None:
        self._factory = factory
        self._labels = labels
        self._reader = reader
        self._labelled: frozenset[int] = frozenset()
        self._uncounted: dict[int, TeacherLabel] = {}
        self._sealed = 0

    async def open(self, next_offset: int) -> None:
        """Find out which decisions from here on have a label already: none, unless offsets were lost."""
        if self._labels not in await self._reader.partitions(self._labels.topic):
            raise ConfigError(
                "partition_missing",
                f"{self._labels.topic} has no partition {self._labels.partition}",
                "give all topics of the project the same number of partitions",
            )
        first, end = (await self._reader.bounds([self._labels]))[self._labels]
        found = set()
        async for record in self._reader.read(self._labels, first, end):
            label = read_label(record)
            if label.group == self._factory.group and label.decided.offset >= next_offset:
                found.add(label.decided.offset)
        self._labelled = frozenset(found)

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        """At most one label. Raises DataLossError for a record that is no decision, what the desk raises, and
        StageStopped for a teacher that refuses one document after the other or cannot be read."""
        decision = _decision(record)
        factory = self._factory
        if decision.group != factory.group or record.offset in self._labelled:
            return ()
        taken = factory.sampling.take(decision)
        if taken is None:
            return ()
        reply = await self._asked(decision)
        if reply.reason is None:
            factory.limit.judged()
        else:
            factory.limit.died(reply.reason, reply.error)
        label = _label(factory, record, decision, taken, reply)
        self._uncounted[record.offset] = label
        return [Outgoing(factory.topic, label.id.encode(), encode(label), self._labels.partition, trace_of(record))]

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        self._sealed = next_offset
        return ()

    async def committed(self) -> None:
        """Count what the transaction held."""
        for offset in [offset for offset in self._uncounted if offset < self._sealed]:
            self._factory.metrics.labelled(self._uncounted.pop(offset))

    async def close(self) -> None:
        """What is paid for is made safe; what was not committed will be found there again."""
        self._uncounted.clear()
        await self._factory.desk.sync()

    async def _asked(self, decision: Decision) -> Reply:
        factory = self._factory
        try:
            if decision.lineage not in factory.lineages:
                now = " or ".join(factory.lineages)
                raise DocumentError(OTHER_LINEAGE, f"decided on as {decision.lineage}, the project now scores as {now}")
            document = await document_of(self._reader, decision, factory.registered)
            cutoff = factory.project.settings.tokens.train_cutoff_tokens
            view = view_of(document, factory.settings, cutoff, factory.tokenize, factory.special_tokens)
        except DocumentError as error:
            return Reply(None, error.reason, error.error, 0, 0, 0)
        messages = factory.prompt.messages(view.text)
        key = f"watch/{factory.group}/{origin_name(decision.origin)}"
        question = Question(key, messages, factory.project.settings.teacher.reply_tokens_max)
        return await factory.desk.ask(question, factory.settings.layout, factory.rubric.names)


def read_label(record: Record) -> TeacherLabel:
    """Raises DataLossError for a record that is no label: leaving it out would forget what was paid for."""
    try:
        return _decode_label(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable("label_unreadable", record, str(error), "watch") from None


def _decision(record: Record) -> Decision:
    try:
        decision = _decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable("decision_unreadable", record, str(error), "aggregator") from None
    if len(decision.scores) != DIMENSIONS:
        raise _unreadable("decision_unreadable", record, f"{len(decision.scores)} scores", "aggregator")
    return decision


def _label(factory: WatchingFactory, record: Record, decision: Decision, taken: Taken, reply: Reply) -> TeacherLabel:
    reading = reply.reading
    return TeacherLabel(
        id=decision.id,
        source=decision.source,
        group=decision.group,
        origin=decision.origin,
        decided=CardPosition(partition=record.partition, offset=record.offset),
        decided_ms=record.timestamp_ms,
        lineage=decision.lineage,
        mask=decision.mask,
        arm=taken.arm,
        inclusion=taken.inclusion,
        teacher=factory.desk.teacher.model,
        dimensions_used=decision.dimensions_used,
        student_scores=decision.scores,
        scores=None if reading is None else reading.scores,
        overall=None if reading is None else reading.overall,
        recommendation=None if reading is None else reading.recommendation,
        reason=reply.reason,
        error=cut_bytes(reply.error, ERROR_BYTES_MAX),
        attempts=reply.attempts,
        prompt_tokens=reply.prompt_tokens,
        generation_tokens=reply.generation_tokens,
        event_time_ms=decision.event_time_ms,
    )


def _unreadable(code: str, record: Record, cause: str, writer: str) -> DataLossError:
    return DataLossError(
        code,
        f"{record.topic}/{record.partition} offset {record.offset}: {cause}",
        f"find out who wrote it; only the {writer} writes to this topic",
    )
