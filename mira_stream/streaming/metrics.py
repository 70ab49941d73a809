"""All metrics of the services on an injected registry. Names: `mira_*`, base units, `_total`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mira_stream.messages import REASONS, Epoch, Sent
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.cluster_watch import ClusterMetrics
from mira_stream.streaming.committed_lag import CommittedLagMetrics
from mira_stream.streaming.health import Health
from mira_stream.streaming.merged import within
from mira_stream.streaming.pressure import State
from mira_stream.streaming.score_metrics import ScoreMetrics, Spread
from mira_stream.streaming.source_metrics import SourceMetrics
from mira_stream.streaming.stage_metrics import StageMetrics
from mira_stream.streaming.stalls import Found
from mira_stream.streaming.troubles import EXPORT_UNAVAILABLE, Troubles, Why
from mira_stream.window_messages import WindowSummary
from mira_stream.windows import Added

disable_created_metrics()  # type: ignore[no-untyped-call]
"""Else every counter and histogram has a second series that says since when it is."""

SERIES_MAX: Final = 2_000
"""Of one process, however many sources, partitions and groups it has."""
LAG_BUCKETS_S: Final = (0.01, 0.03, 0.05, 0.1, 0.25, 1.0, 5.0)
"""No step of the loop should last longer than 0.05 s: where no beat is more than 0.03 late, none did, and one that is
more than 0.05 late was held up by one that did. At 5 s a probe fails."""
COMMITS: Final = ("committed", "failed", "fenced")
RETURNED: Final = ("kept", "dropped", "moved")
RESTARTS: Final = ("died", "stalled")
"""Values of labels, all of which are shown from the start."""


class Metrics:
    """Hot paths call the methods; label children are made once by prometheus-client and kept."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = CollectorRegistry() if registry is None else registry
        self.health = Health()
        """What the service's parts say of themselves to probes."""
        self.sources = SourceMetrics(registry)
        self.scores = ScoreMetrics(registry)
        self.stages = StageMetrics(registry)
        self.cluster = ClusterMetrics(registry)
        self.committed_lag = CommittedLagMetrics(registry)
        self.records_in = Counter(
            "mira_records_in_total",
            "Records read by a stage",
            ["stage", "topic"],
            registry=registry,
        )
        self.records_out = Counter(
            "mira_records_out_total",
            "Records committed by a stage",
            ["stage", "topic"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "mira_dead_letters_total",
            "Documents that could not be judged",
            ["stage", "reason"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "mira_in_flight",
            "Admitted and not settled",
            ["stage", "unit"],
            registry=registry,
        )
        self.in_flight_limit = Gauge(
            "mira_in_flight_limit",
            "Limit of mira_in_flight",
            ["stage", "unit"],
            registry=registry,
        )
        self.skipped = Counter(
            "mira_records_skipped_total",
            "Records read again that were finished before a restart: not done again",
            ["stage", "topic"],
            registry=registry,
        )
        self.lost = Counter(
            "mira_offsets_lost_total",
            "Offsets written off by --accept-loss: deleted unread, or passed over by an offset that was moved",
            ["stage", "topic"],
            registry=registry,
        )
        self.returned = Counter(
            "mira_returned_partitions_total",
            "Partitions after a rebalance by what became of the work on them: kept, dropped (given to another member),"
            " moved (their committed offset had changed)",
            ["stage", "outcome"],
            registry=registry,
        )
        self.paused = Gauge(
            "mira_paused_partitions",
            "Partitions that wait: over their limit of offsets, ranges or unreleased results",
            ["stage"],
            registry=registry,
        )
        self.commits = Counter(
            "mira_commits_total",
            "Transactions by outcome",
            ["stage", "outcome"],
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "mira_commit_seconds",
            "Duration of a transaction",
            ["stage"],
            registry=registry,
        )
        self.health.loop.observe = Histogram(
            "mira_event_loop_lag_seconds",
            "How late the event loop came to what was due, looked at every 20 ms: over 0.03 at a block of over 0.05",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        ).observe
        self.engine_up = Gauge(
            "mira_engine_up",
            "1 while the group's engine serves",
            ["group"],
            registry=registry,
        )
        self.engine_progress = Gauge(
            "mira_engine_progress_age_seconds",
            "Since the group's engine last ended a request, while it has some",
            ["group"],
            registry=registry,
        )
        self.stands_back = Gauge(
            "mira_shadow_stands_back",
            "1 while a shadow fetches nothing, because the live scorer has documents waiting",
            ["group"],
            registry=registry,
        )
        self.engine_restarts = Counter(
            "mira_engine_restarts_total",
            "Starts of an engine that had died or stalled",
            ["group", "cause"],
            registry=registry,
        )
        self.engine_seconds = Histogram(
            "mira_engine_seconds",
            "One request from sent to answered",
            ["group"],
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=registry,
        )
        self.prompt_tokens = Counter(
            "mira_prompt_tokens_total",
            "Tokens read by engines",
            ["group"],
            registry=registry,
        )
        self.cached_tokens = Counter(
            "mira_cached_tokens_total",
            "Prompt tokens found in the prefix cache",
            ["group"],
            registry=registry,
        )
        self.generation_tokens = Counter(
            "mira_generation_tokens_total",
            "Tokens written by engines",
            ["group"],
            registry=registry,
        )
        self.repairs = Counter(
            "mira_reply_repairs_total",
            "Named repairs while reading replies",
            ["group", "repair"],
            registry=registry,
        )
        self.cascaded = Counter(
            "mira_cascade_documents_total",
            "Documents by what became of their cheap scores: sure (they stand), else why the full stage judged",
            ["group", "sent"],
            registry=registry,
        )

        self.policy_version = Gauge(
            "mira_policy_version",
            "Newest version of the policy (an offset of its topic) that this aggregator decides by",
            registry=registry,
        )
        self._named: int | None = None
        """Groups that are shown by name; None: all."""
        self._in_flight: dict[str, list[Gauge]] = {}
        """Children by stage: set at every poll."""

    def begin(self, stage: str, topics: Sequence[str]) -> None:
        """All that a stage counts is 0 from here on: Prometheus sees no increase in a series that begins at 1."""
        for outcome in COMMITS:
            self.commits.labels(stage, outcome)
        for outcome in RETURNED:
            self.returned.labels(stage, outcome)
        for topic in topics:
            self.records_in.labels(stage, topic)
            self.skipped.labels(stage, topic)
            self.lost.labels(stage, topic)
        self.commit_seconds.labels(stage)
        self.stages.press(stage, State.FREE, {})
        self.stages.stall(stage, Found(frozenset(), frozenset()))

    def may_die(self, stage: str) -> None:
        """The stage writes dead letters."""
        for reason in REASONS:
            self.dead_letters.labels(stage, reason)

    def dead(self, stage: str, reason: str) -> None:
        self.dead_letters.labels(stage, reason).inc()

    def decided(self, source: str, decision: str) -> None:
        self.sources.decide(source, decision)

    def took(self, seconds: float) -> None:
        """From a document's append to its decision."""
        self.sources.decision_seconds.observe(seconds)

    def moved(self, epoch: Epoch) -> None:
        self.sources.move(epoch)

    def stands(self, of: str, documents: int, kept: float) -> None:
        self.sources.stand(of, documents, kept)

    def follows(self, version: int) -> None:
        """The newest policy version that was read."""
        self.policy_version.set(version)

    def windowed(self, source: str, added: Added) -> None:
        self.sources.window(source, added)

    def summed_up(self, summary: WindowSummary) -> None:
        self.sources.sum_up(summary)

    def engine_restarted(self, group: str, cause: str) -> None:
        self.engine_restarts.labels(group, cause).inc()

    def tending(self, group: str, serves: Callable[[], bool], progress_age_s: Callable[[], float]) -> None:
        """Ask the engine itself whenever metrics are read."""
        for cause in RESTARTS:
            self.engine_restarts.labels(group, cause)
        for counted in (self.prompt_tokens, self.cached_tokens, self.generation_tokens, self.engine_seconds):
            counted.labels(group)
        self.engine_up.labels(group).set_function(serves)
        self.engine_progress.labels(group).set_function(progress_age_s)

    def repaired(self, group: str, repair: str) -> None:
        self.repairs.labels(group, repair).inc()

    def scored(self, group: str, scores: Sequence[float | None]) -> None:
        self.scores.count(group, scores)

    def measured(self, group: str, spreads: Mapping[str, Spread]) -> None:
        self.scores.measured(group, spreads)

    def sent_on(self, group: str, sent: Sent) -> None:
        self.cascaded.labels(group, sent).inc()

    def generated(
        self,
        group: str,
        prompt_tokens: int,
        generation_tokens: int,
        cached_tokens: int,
        seconds: float,
    ) -> None:
        self.prompt_tokens.labels(group).inc(prompt_tokens)
        self.generation_tokens.labels(group).inc(generation_tokens)
        self.cached_tokens.labels(group).inc(cached_tokens)
        self.engine_seconds.labels(group).observe(seconds)

    def content_error(self, source: str) -> None:
        self.sources.content_error(source)

    @contextmanager
    def exporting(self, why: Why) -> Iterator[None]:
        """Show as mira_export_unavailable, while the block runs, what `why` says when it is asked."""
        shown = Troubles(EXPORT_UNAVAILABLE, why)
        self.registry.register(shown)
        try:
            yield
        finally:
            self.registry.unregister(shown)

    def admitted(self, stage: str, used: Amount, limit: Amount) -> None:
        if stage not in self._in_flight:
            for unit, most in zip(Amount._fields, limit, strict=True):
                self.in_flight_limit.labels(stage, unit).set(most)
            self._in_flight[stage] = [self.in_flight.labels(stage, unit) for unit in Amount._fields]
        for gauge, have in zip(self._in_flight[stage], used, strict=True):
            gauge.set(have)

    def exposition(self) -> bytes:
        """All metrics as Prometheus' text: SERIES_MAX series at most."""
        families, self._named = within(list(self.registry.collect()), SERIES_MAX, self._named)
        shown = CollectorRegistry()
        shown.register(_Collected(families))
        return generate_latest(shown)


class _Collected(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families

    def describe(self) -> Iterable[Metric]:
        return ()
