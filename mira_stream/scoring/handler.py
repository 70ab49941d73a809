"""One document in, one score card or dead letter out."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Final, NamedTuple

from mira_stream.clock import Monotonic, monotonic
from mira_stream.config import Project
from mira_stream.errors import DocumentError
from mira_stream.messages import Document, ScoreCard, encode
from mira_stream.prompt import load_prompt
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition, trace_of
from mira_stream.render import Rendered
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.documents import UnknownSource, cut_bytes, dead_letter, origin_of, read_document
from mira_stream.scoring.engine import Engine
from mira_stream.scoring.judge import EXPECTED_DECIMALS, PAUSES_S, Judge, Judgement, ScoringMetrics, UnreadableReply
from mira_stream.scoring.limit import DeadLetterLimit
from mira_stream.scoring.lineage import lineage_of
from mira_stream.scoring.registered import Registered
from mira_stream.scoring.views import UnfitDocument, view_of

REPLY_BYTES_MAX: Final = 16_000
INLINE_BYTES_MAX: Final = 64 * 1024
"""Larger documents are read and cut in a thread, so that heartbeats go on."""


class Prepared(NamedTuple):
    """A readable document and what the judge sees of it."""

    document: Document
    view: Rendered


class ScoringFactory:
    """Makes the handlers of a source group's partitions; they share engine, judge and dead-letter limit.

    Raises ConfigError if rubric, prompts, student or mode are wrong.
    """

    def __init__(
        self,
        project: Project,
        group: str,
        engine: Engine,
        metrics: ScoringMetrics,
        *,
        pauses_s: tuple[float, ...] = PAUSES_S,
        now: Monotonic = monotonic,
    ) -> None:
        rubric = load_rubric(project.rubric_path(group))
        prompt = load_prompt(project.prompts_path(group), rubric)
        self.project = project
        self.group = group
        self.engine = engine
        self.metrics = metrics
        self.lineage = lineage_of(project, group, rubric, prompt)
        self.judge = Judge(
            group, project.settings.groups[group], rubric, prompt, self.lineage, engine, metrics, pauses_s, now
        )
        self.registered = Registered(project.topic("policy"), project.settings.sources)
        self.limit = DeadLetterLimit(f"score.{group}", project.settings.limits.dead_letters_in_a_row)
        self._owners = count()

    def __call__(self, partition: TopicPartition, reader: LogReader) -> "ScoringHandler":
        # Request ids must differ between two ownerships of a partition: an abort may still be under way.
        return ScoringHandler(self, reader, f"{partition.topic}-{partition.partition}-{next(self._owners)}")

    def prepare(self, record: Record) -> Prepared:
        """Pure. Raises DocumentError, with the document if it could be read."""
        settings = self.project.settings
        group = settings.groups[self.group]
        document = read_document(record, self.registered.sources, self.group)
        cutoff = settings.tokens.train_cutoff_tokens
        view = view_of(document, group, cutoff, self.engine.tokenize, self.engine.special_tokens)
        return Prepared(document, view)


class ScoringHandler:
    """One partition's documents, many at once; keeps no state of its own."""

    def __init__(self, factory: ScoringFactory, reader: LogReader, name: str) -> None:
        self._factory = factory
        self._reader = reader
        self._name = name

    async def open(self, next_offset: int) -> None: ...

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        """Exactly one record. Raises EngineError if the engine stays away, StageStopped at the dead-letter limit."""
        factory = self._factory
        document: Document | None = None
        try:
            prepared = await self._prepared(record)
            document = prepared.document
            judgement = await factory.judge.judge(prepared.view.text, document.id, f"{self._name}-{record.offset}")
        except DocumentError as error:
            return [self._dead(record, document, error)]
        factory.limit.judged()
        return [self._card(record, prepared, judgement)]

    async def _prepared(self, record: Record) -> Prepared:
        try:
            return await self._prepare(record)
        except UnknownSource as unknown:
            if not await self._factory.registered.look(self._reader, unknown.source):
                raise
        return await self._prepare(record)

    async def _prepare(self, record: Record) -> Prepared:
        if len(record.value or b"") > INLINE_BYTES_MAX:
            return await asyncio.to_thread(self._factory.prepare, record)
        return self._factory.prepare(record)

    def _dead(self, record: Record, document: Document | None, error: DocumentError) -> Outgoing:
        factory = self._factory
        factory.metrics.dead("score", error.reason)
        factory.limit.died(error.reason, error.error)
        if isinstance(error, UnfitDocument):
            document = error.document
        attempts = error.attempts if isinstance(error, UnreadableReply) else 1
        letter = dead_letter(record, document, error, factory.lineage, attempts)
        key = None if letter.id is None else letter.id.encode()
        return Outgoing(factory.project.topic("dead-letters"), key, encode(letter), headers=trace_of(record))

    def _card(self, record: Record, prepared: Prepared, judgement: Judgement) -> Outgoing:
        factory, document, view = self._factory, prepared.document, prepared.view
        reading, completion = judgement.reading, judgement.completion
        tokens, basis = self._tokens(document, view)
        card = ScoreCard(
            id=document.id,
            source=document.source,
            group=factory.group,
            origin=origin_of(record),
            ref=document.ref,
            lineage=factory.lineage,
            mode=factory.project.settings.groups[factory.group].mode,
            scores=judgement.scores,
            overall=reading.overall,
            recommendation=reading.recommendation,
            domain_tag=reading.domain_tag,
            brief=reading.brief,
            reply=cut_bytes(completion.text, REPLY_BYTES_MAX) or None,
            repairs=reading.repairs,
            attempts=judgement.attempts,
            finish_reason=completion.finish_reason,
            view=view.view,
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            generation_tokens=completion.generation_tokens,
            tokens=tokens,
            tokens_basis=basis,
            event_time_ms=record.timestamp_ms if document.event_time_ms is None else document.event_time_ms,
            engine_s=round(judgement.engine_s, 6),
            **_probabilities(judgement),
        )
        by_group = factory.project.settings.topics.scores_key == "group"
        key = factory.group.encode() if by_group else b"all"
        return Outgoing(factory.project.topic("scores"), key, encode(card), headers=trace_of(record))

    def _tokens(self, document: Document, view: Rendered) -> tuple[int, str]:
        """Of the whole document up to the training cut-off: the input's own count, else the tokenizer's."""
        if document.tokens is not None:
            return min(document.tokens, self._factory.project.settings.tokens.train_cutoff_tokens), "input"
        return view.tokens, self._factory.engine.tokens_basis

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        return ()

    async def committed(self) -> None: ...

    async def close(self) -> None: ...


def _probabilities(judgement: Judgement) -> dict[str, list[float | None]]:
    """What only mode `expected` knows."""
    if judgement.expected is None:
        return {}
    return {
        "said_scores": judgement.reading.scores,
        "entropy": [None if one is None else round(one.entropy, EXPECTED_DECIMALS) for one in judgement.expected],
        "label_mass": [None if one is None else round(one.mass, EXPECTED_DECIMALS) for one in judgement.expected],
    }
