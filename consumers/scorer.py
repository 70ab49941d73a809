"""The scorer: documents of a source group in, score cards out, one engine a group.

Engines start side by side; each group streams as soon as its own engine is ready.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from mira_stream.config import Project
from mira_stream.records import Record
from mira_stream.reliability.acceptance import served_modes
from mira_stream.reliability.by_slot import spreads
from mira_stream.reliability.table import load_table
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.engine import Engine
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.scoring.lineage import lineage
from mira_stream.scoring.origin import check_origin, check_there
from mira_stream.scoring.probe import probe
from mira_stream.scoring.tended import RestartPolicy, TendedEngine
from mira_stream.sections import GroupSection
from mira_stream.streaming.health import Check, engine_check
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.service import done_before, first_error
from mira_stream.streaming.settings import RunnerSettings, in_flight, start_of
from mira_stream.vllm_engine import VllmEngine, sharing_cores

from .cascading import cascade_thresholds
from .unmasked import say_unmasked

log = structlog.get_logger("mira_stream.scorer")

EngineBuilder = Callable[[Project, str], Engine]
BYTES_PER_TOKEN = 3
STALL = 1.25
"""Times a request's own timeout: an endpoint that is slow ends its requests itself and does not count as hanging."""


def build_engine(project: Project, group: str) -> Engine:
    """The engine mira.toml names for the group: in-process vLLM or an OpenAI-compatible endpoint."""
    if project.settings.groups[group].engine == "openai":
        from mira_stream.openai_engine import OpenAIEngine

        return OpenAIEngine.for_group(project, group)
    return VllmEngine.for_group(project, group)


async def score(
    project: Project,
    broker: Broker,
    groups: Sequence[str],
    metrics: Metrics,
    stop: asyncio.Event,
    engine_for: EngineBuilder = build_engine,
    *,
    accept_loss: bool = False,
    instance: str = "",
) -> None:
    """Score all `groups` until `stop` is set. The first error of any group ends all of them: a process is one
    domain of failure, and whoever wants the groups apart runs one process a group."""
    for group in groups:  # what is wrong is said before an engine takes its half minute
        for judging in judgings(project, group):
            check_there(judging, group)
            check_origin(judging, group, load_rubric(project.rubric_path(group)))
        modes, measured = served_modes(project, group), project.reliability_path(group)
        for line in modes.said:
            log.warning("a faster mode is not accepted", group=group, source=line)
        if measured.is_file():
            metrics.measured(group, spreads(load_table(measured), modes))
    await (await broker.reader()).close()
    project = sharing_cores(project, groups)
    try:
        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                policy = RestartPolicy(stall_s=STALL * project.settings.groups[group].request_timeout_s)
                restarts = partial(metrics.engine_restarted, group)
                served = served_modes(project, group).project
                engine = TendedEngine(engine_for(served, group), group, policy, restarted=restarts)
                settings = scorer_settings(project, group, accept_loss=accept_loss, instance=instance)
                tasks.create_task(_score_group(project, broker, group, settings, engine, metrics, stop))
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors


async def _score_group(
    project: Project,
    broker: Broker,
    group: str,
    settings: RunnerSettings,
    engine: TendedEngine,
    metrics: Metrics,
    stop: asyncio.Event,
) -> None:
    started, health = Started(group, engine), metrics.health
    metrics.may_die("score")
    metrics.tending(group, started.serves, lambda: engine.progress_age_s)
    try:
        with (
            health.checked("started", started.check),
            health.checked("ready", started.check_now),
        ):
            if not await done_before(stop, _make_ready(project, broker, group, engine)):
                return
            started.probed = True
            log.info("engine ready", group=group)
            tokens = partial(tokens_of, context_tokens=project.settings.groups[group].context_tokens_max)
            async with cascade_thresholds(project, broker, group) as published:
                factory = ScoringFactory(project, group, engine, metrics, published=published)
                runner = Runner(broker, settings, factory, metrics, tokens_of=tokens, is_down=lambda: not engine.serves)
                await runner.run(stop)
    finally:
        started.probed = False
        await engine.stop()


def judgings(project: Project, group: str) -> list[Project]:
    """The project as each stage of the group's engine judges: its mode's, and that of sources that fall back."""
    stages = list[GroupSection]()
    for judging in served_modes(project, group).projects:
        stages += [stage for stage in judging.settings.groups[group].stages if stage not in stages]
    return [project.judged_as(group, stage) for stage in stages]


async def _make_ready(project: Project, broker: Broker, group: str, engine: TendedEngine) -> None:
    await engine.start()
    for judging in judgings(project, group):
        await probe(judging, group, engine)
    await asyncio.to_thread(lineage, project, group)  # hashes the student, which may be large; kept from then on
    await say_unmasked(project, broker, group)


class Started:
    """What probes and metrics are told of a group's engine."""

    def __init__(self, group: str, engine: TendedEngine) -> None:
        self._group = group
        self._engine = engine
        self.probed = False

    def serves(self) -> bool:
        return self.probed and self._engine.serves

    def check(self) -> Check:
        return engine_check(self._group, self.probed, 0, 0.0)

    def check_now(self) -> Check:
        return engine_check(self._group, self.serves(), self._engine.running, self._engine.progress_age_s)


def tokens_of(record: Record, context_tokens: int) -> int:
    """What a document may take of the engine: its bytes as tokens, at most the context."""
    return min(len(record.value or b"") // BYTES_PER_TOKEN, context_tokens)


def scorer_settings(project: Project, group: str, *, accept_loss: bool = False, instance: str = "") -> RunnerSettings:
    limits = project.settings.limits
    return RunnerSettings(
        stage=f"score.{group}",
        consumer_group=project.consumer_group(f"scorer.{group}"),
        topics=(project.documents_topic(group),),
        writes=tuple(map(project.topic, ("scores", "progress", "dead-letters"))),
        results=project.topic("scores"),
        concurrent=True,
        limit=in_flight(limits),
        partition_span=limits.partition_span,
        transaction_records=limits.transaction_records,
        transaction_linger_s=limits.transaction_linger_s,
        drain_s=limits.drain_s,
        progress=project.topic("progress"),
        progress_ranges=limits.progress_ranges,
        start=start_of(project.settings.topics.start),
        accept_loss=accept_loss,
        instance=instance,
        patient=bool(project.shadow),
    )
