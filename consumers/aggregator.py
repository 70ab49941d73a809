"""The aggregator: score cards in, epochs, states and decisions out.

There is one whatever else is up or down, so it is who measures how far scorers and exporter are behind, too.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from mira_stream.clock import now_ms
from mira_stream.config import Project
from mira_stream.selecting.handler import SelectingFactory
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.committed_lag import CommittedLag, readers_of
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.score_log import check_score_log
from mira_stream.streaming.settings import RunnerSettings

IN_FLIGHT: Final = Amount(20_000, 2**31, 64 * 2**20)
"""Score cards are small and settle at once: only their bytes in memory need a limit."""

TRANSACTIONS: Final = 4
"""A card costs so little beside a scored document that a transaction holds so many times limits.transaction_records."""

TICK_S: Final = 5.0
"""So often a partition without new cards is asked for windows to close."""


async def aggregate(
    project: Project,
    broker: Broker,
    metrics: Metrics,
    stop: asyncio.Event,
    *,
    now: Callable[[], int] = now_ms,
    tick_s: float = TICK_S,
    instance: str = "",
) -> None:
    """Decide on score cards until `stop` is set. `now`: the clock that closes the windows of silent sources, in ms.
    Raises DataLossError (streaming/score_log.py)."""
    limits = project.settings.limits
    settings = RunnerSettings(
        stage="aggregate",
        consumer_group=project.consumer_group("aggregator"),
        topics=(project.topic("scores"),),
        writes=tuple(
            map(project.topic, ("decisions", "epochs", "windows", "state", "dead-letters", "policy", "ingest"))
        ),
        concurrent=False,
        limit=IN_FLIGHT,
        partition_span=2 * IN_FLIGHT.documents,  # never: a pause would throw away what was fetched
        transaction_records=TRANSACTIONS * limits.transaction_records,
        transaction_linger_s=limits.transaction_linger_s,
        drain_s=limits.drain_s,
        tick_s=tick_s,
        progress=project.topic("progress"),
        instance=instance,
    )
    await check_score_log(project, broker)
    metrics.may_die("aggregate")
    lag = CommittedLag(broker, readers_of(project), metrics.committed_lag, now)
    looking = asyncio.create_task(lag.go_on())
    try:
        await Runner(broker, settings, SelectingFactory(project, metrics, now), metrics).run(stop)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
