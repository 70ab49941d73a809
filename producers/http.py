"""The HTTP producer: POST /v1/documents into the stream, without end."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from msgspec import Struct

from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.http import Door, Refusals, check_bind, guarded, serve
from mira_stream.http.documents import FEED, Documents
from mira_stream.http.guard import LOOPBACK_NAMES, is_loopback
from mira_stream.ingest.known import Known, Room
from mira_stream.ingest.posted import Place, Reception
from mira_stream.streaming.backlog import Backlog
from mira_stream.streaming.health import Check, Health
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.intake import ANSWER_S, Intake
from mira_stream.streaming.ports import Broker


class Limits(Struct, frozen=True, kw_only=True):
    """Of one request; of all that are under way; ids that are remembered; offsets the scorer may be behind (0: any);
    seconds until a request is answered although the broker has not."""

    request_documents: int = 1_000
    request_bytes: int = 16 * 2**20
    documents: int = 4_000
    bytes: int = 64 * 2**20
    remembered: int = 100_000
    lag: int = 0
    answer_s: float = ANSWER_S


class HttpProducer:
    """Its parts, put together; `app` is unguarded."""

    def __init__(self, broker: Broker, project: Project, limits: Limits, metrics: IngestMetrics) -> None:
        settings = project.settings
        places = {
            name: Place(project.documents_topic(section.group), settings.groups[section.group].family)
            for name, section in settings.sources.items()
            if section.group is not None
        }
        if not places:
            raise ConfigError(
                "sources_missing", "mira.toml has no source that is in a group", "add one: mira-stream source add"
            )
        scorers = {
            project.documents_topic(group): project.consumer_group(f"scorer.{group}") for group in settings.groups
        }
        blocked_s = 2 * settings.broker.transaction_timeout_ms / 1000
        self.intake = Intake(
            broker,
            project.topic("produce.http"),
            sorted(scorers),
            Known(limits.remembered),
            blocked_s,
            answer_s=limits.answer_s,
        )
        metrics.begin(FEED)
        metrics.oldest.set_function(self.intake.oldest_s)
        metrics.unavailable(lambda: self.intake.down)
        self.backlog = Backlog(broker, scorers, limits.lag, metrics)
        self.app = Documents(
            self.intake,
            Reception(places, settings.ingest.inline_bytes_max),
            Room(limits.documents, limits.bytes),
            self.backlog,
            metrics,
            request_bytes_max=limits.request_bytes,
            request_documents_max=limits.request_documents,
        ).app()

    def started(self) -> Check:
        down = self.intake.down
        if down is None or down.code != "not_started":
            return Check("ids", True)
        return Check("ids", False, None, down.cause, "wait: the newest documents are read from the log")

    def ready(self) -> Check:
        down = self.intake.down
        return Check("intake", True) if down is None else Check("intake", False, None, down.cause, down.fix)


async def serve_documents(
    broker: Broker,
    project: Project,
    metrics: IngestMetrics,
    health: Health,
    stop: asyncio.Event,
    *,
    host: str,
    port: int,
    token: str,
    limits: Limits,
    bound: Callable[[str], None] = lambda url: None,
) -> None:
    """Until `stop` is set; then nothing more is taken, and what was taken is committed and answered.

    `bound` is told the URL. Raises UsageError(token_missing, port_in_use); DependencyError if another process of the
    project takes over.
    """
    check_bind(host, token)
    made = HttpProducer(broker, project, limits, metrics)
    refusals = Refusals(metrics.refuse)
    door = Door(refusals)
    metrics.connections_max.set(door.connections_max)
    metrics.connections.set_function(lambda: door.connections)
    names = LOOPBACK_NAMES if is_loopback(host) else None
    app = guarded(made.app, token=token, names=names, refusals=refusals)
    taking = asyncio.create_task(made.intake.run(), name="intake")
    looking = asyncio.create_task(made.backlog.run(), name="backlog")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        with ExitStack() as checks:
            checks.enter_context(health.checked("started", made.started))
            checks.enter_context(health.checked("ready", made.ready))
            checks.enter_context(health.checked("ready", made.backlog.ready))
            async with serve(app, host, port, door) as url:
                bound(url)
                await asyncio.wait([taking, looking, stopping], return_when=asyncio.FIRST_COMPLETED)
                made.intake.drain()
                await taking
                if looking.done():
                    looking.result()
    finally:
        for task in (taking, looking, stopping):
            task.cancel()
        await asyncio.gather(taking, looking, stopping, return_exceptions=True)
