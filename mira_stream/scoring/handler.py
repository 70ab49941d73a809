"""One document in, one score card or dead letter out."""

import asyncio
from collections.abc import Sequence
from itertools import count
from math import inf
from typing import Final, NamedTuple

from mira_stream.cascade import InForce, Routed, route
from mira_stream.clock import Monotonic, monotonic
from mira_stream.config import Project
from mira_stream.errors import DocumentError
from mira_stream.messages import DIMENSIONS, CheapStage, Document, ScoreCard, encode
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition, trace_of
from mira_stream.reliability.acceptance import served_modes
from mira_stream.render import Rendered
from mira_stream.scoring.documents import UnknownSource, cut_bytes, dead_letter, origin_of, read_document
from mira_stream.scoring.engine import Engine
from mira_stream.scoring.judge import EXPECTED_DECIMALS, PAUSES_S, Judgement, ScoringMetrics, UnreadableReply
from mira_stream.scoring.limit import DeadLetterLimit
from mira_stream.scoring.registered import Registered
from mira_stream.scoring.stages import NothingPublished, Published, Stage, Stages, stages_of
from mira_stream.scoring.views import UnfitDocument

REPLY_BYTES_MAX: Final = 16_000
ENGINE_DECIMALS: Final = 6
INLINE_BYTES_MAX: Final = 64 * 1024
"""Larger documents are read and cut in a thread, so that heartbeats go on."""


class Prepared(NamedTuple):
    """A readable document, who judges it, what they see of it, and what a cascade's cheap stage sees."""

    document: Document
    stages: Stages
    view: Rendered
    cheap_view: Rendered | None = None


class Judged(NamedTuple):
    """The last stage's judgement and view, and what a cheap one said before."""

    judgement: Judgement
    view: Rendered
    cheap: CheapStage | None = None


class ScoringFactory:
    """Makes the handlers of a source group's partitions; they share engine, judges and dead-letter limit.

    `published`: what a cascade's cheap scores are compared with; without it every document goes on to the full stage.
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
        published: Published | None = None,
    ) -> None:
        self.project = project
        self.group = group
        self.engine = engine
        self.metrics = metrics
        self.modes = served_modes(project, group)
        self._in_mode = {
            judging.settings.groups[group].mode: stages_of(judging, group, engine, metrics, pauses_s, now)
            for judging in self.modes.projects
        }
        self.stages = next(iter(self._in_mode.values()))
        self.lineage = self.stages.lineage
        self.judge = self.stages.full.judge
        self.published = published or NothingPublished()
        self.registered = Registered(project.topic("policy"), project.settings.sources)
        self.limit = DeadLetterLimit(f"score.{group}", project.settings.limits.dead_letters_in_a_row)
        self._owners = count()

    def __call__(self, partition: TopicPartition, reader: LogReader) -> "ScoringHandler":
        # Request ids must differ between two ownerships of a partition: an abort may still be under way.
        return ScoringHandler(self, reader, f"{partition.topic}-{partition.partition}-{next(self._owners)}")

    def prepare(self, record: Record) -> Prepared:
        """Pure. Raises DocumentError, with the document if it could be read."""
        document = read_document(record, self.registered.sources, self.group)
        stages = self.stages_of(document.source)
        view, cheap = stages.full.view(document), stages.cheap
        return Prepared(document, stages, view, None if cheap is None else cheap.view(document))

    def stages_of(self, source: str) -> Stages:
        """How this source is judged: as its group is, or in a slower mode that it falls back to."""
        named = self.registered.sources.get(source)
        asked = named.like if named is not None and named.like else source
        return self._in_mode[self.modes.mode_of(asked)]

    async def judged(self, prepared: Prepared, request_id: str) -> Judged:
        """By the cheap stage if there is one, and by the full one unless the cheap scores stand."""
        cheap = None
        document, stages = prepared.document, prepared.stages
        if stages.cheap is not None and prepared.cheap_view is not None:
            cheap, judgement = await self._first(stages.cheap, document, prepared.cheap_view, f"{request_id}-cheap")
            self.metrics.sent_on(self.group, cheap.sent)
            if judgement is not None and cheap.sent == "sure":
                return Judged(judgement, prepared.cheap_view, cheap)
        judgement = await stages.full.judge.judge(prepared.view.text, document.id, request_id)
        return Judged(judgement, prepared.view, cheap)

    async def _first(
        self, stage: Stage, document: Document, view: Rendered, request_id: str
    ) -> tuple[CheapStage, Judgement | None]:
        try:
            judgement = await stage.judge.judge(view.text, document.id, request_id)
        except DocumentError:  # the full stage has the last word on a document that this one cannot read
            return _unread(stage, view), None
        # Asked behind the generation: the newest that is known when the document is routed.
        known = self.published.in_force(document.source)
        return _cheap_stage(stage, view, judgement, route(judgement.scores, known), known), judgement


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
            judged = await factory.judged(prepared, f"{self._name}-{record.offset}")
        except DocumentError as error:
            return [self._dead(record, document, error)]
        factory.limit.judged()
        return [self._card(record, prepared, judged)]

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
        lineage = factory.lineage if document is None else factory.stages_of(document.source).lineage
        letter = dead_letter(record, document, error, lineage, attempts)
        key = None if letter.id is None else letter.id.encode()
        return Outgoing(factory.project.topic("dead-letters"), key, encode(letter), headers=trace_of(record))

    def _card(self, record: Record, prepared: Prepared, judged: Judged) -> Outgoing:
        factory, document, (judgement, view, cheap) = self._factory, prepared.document, judged
        stages = prepared.stages
        reading, completion = judgement.reading, judgement.completion
        factory.metrics.scored(factory.group, judgement.scores)
        tokens, basis = self._tokens(document, prepared.view)
        card = ScoreCard(
            id=document.id,
            source=document.source,
            group=factory.group,
            origin=origin_of(record),
            ref=document.ref,
            lineage=stages.lineage,
            mode=stages.mode,
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
            engine_s=round(judgement.engine_s, ENGINE_DECIMALS),
            cheap=cheap,
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


def _cheap_stage(
    stage: Stage, view: Rendered, judgement: Judgement, routed: Routed, known: InForce | None
) -> CheapStage:
    completion = judgement.completion
    return CheapStage(
        lineage=stage.lineage,
        mode=stage.settings.taught_mode,
        scores=judgement.scores,
        sent=routed.sent,
        quality=routed.quality,
        half_width=None if known is None or known.half_width == inf else known.half_width,
        epoch_of=None if known is None else known.epoch_of,
        epoch=None if known is None else known.epoch,
        keep=None if known is None else known.keep,
        drop=None if known is None else known.drop,
        view=view.view,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        cached_tokens=completion.cached_tokens,
        generation_tokens=completion.generation_tokens,
        engine_s=round(judgement.engine_s, ENGINE_DECIMALS),
    )


def _unread(stage: Stage, view: Rendered) -> CheapStage:
    mode = stage.settings.taught_mode
    nothing: list[float | None] = [None] * DIMENSIONS
    return CheapStage(lineage=stage.lineage, mode=mode, scores=nothing, sent="unread", view=view.view)


def _probabilities(judgement: Judgement) -> dict[str, list[float | None]]:
    """What only mode `expected` knows."""
    if judgement.expected is None:
        return {}
    return {
        "said_scores": judgement.reading.scores,
        "entropy": [None if one is None else round(one.entropy, EXPECTED_DECIMALS) for one in judgement.expected],
        "label_mass": [None if one is None else round(one.mass, EXPECTED_DECIMALS) for one in judgement.expected],
    }
