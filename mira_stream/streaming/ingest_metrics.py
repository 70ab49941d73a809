"""Metrics of what brings documents in. Series are bounded: feeds of one process, outcomes, causes."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from mira_stream.streaming.troubles import INGEST_UNAVAILABLE, Troubles, Why

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
DUPLICATE: Final = "duplicate"
REFUSED: Final = (
    "body_broken",
    "body_slow",
    "body_too_large",
    "broker_failed",
    "broker_refused",
    "broker_silent",
    "broker_unreachable",
    "commit_unknown",
    "connections_full",
    "documents_blocked",
    "header_slow",
    "host_unknown",
    "id_conflict",
    "media_type",
    "method_unknown",
    "no_documents",
    "origin_refused",
    "path_unknown",
    "pipe_full",
    "producer_fenced",
    "record_too_large",
    "scorer_behind",
    "source_changed",
    "token_wrong",
    "too_many_documents",
    "topic_missing",
)
"""Causes of refusals that are shown from the start: Prometheus sees no increase in a series that begins at 1."""


class IngestMetrics:
    """`outcome` is accepted (in the log), rejected (no document) or duplicate (was in the log already)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.documents = Counter(
            "mira_ingest_documents_total", "Documents taken in", ["feed", "outcome"], registry=registry
        )
        self.refused = Counter(
            "mira_ingest_refused_total",
            "Requests, connections and files that were refused as a whole, by the error's code",
            ["cause"],
            registry=registry,
        )
        for cause in REFUSED:
            self.refused.labels(cause)
        self.in_flight = Gauge(
            "mira_ingest_in_flight", "Documents taken in and not committed yet", registry=registry
        )  # fmt: skip
        self.capacity = Gauge("mira_ingest_capacity", "Limit of mira_ingest_in_flight", registry=registry)
        self.in_flight_bytes = Gauge("mira_ingest_in_flight_bytes", "Bytes of mira_ingest_in_flight", registry=registry)
        self.capacity_bytes = Gauge(
            "mira_ingest_capacity_bytes", "Limit of mira_ingest_in_flight_bytes", registry=registry
        )
        self.oldest = Gauge(
            "mira_ingest_oldest_seconds",
            "Since the oldest request was taken in that is not committed and answered; 0 if none waits",
            registry=registry,
        )
        self.connections = Gauge("mira_ingest_connections", "Open HTTP connections", registry=registry)
        self.connections_max = Gauge(
            "mira_ingest_connections_limit", "Limit of mira_ingest_connections: one more is 503", registry=registry
        )
        self.backlog = Gauge(
            "mira_ingest_backlog_records",
            "Offsets that the topic's scorer has not finished: documents, and a marker for each transaction",
            ["topic"],
            registry=registry,
        )
        self.backlog_age = Gauge(
            "mira_ingest_backlog_age_seconds",
            "Since mira_ingest_backlog_records was measured (--lag-max); beyond 30 nothing is taken",
            registry=registry,
        )
        self.backlog_limit = Gauge(
            "mira_ingest_backlog_limit", "Limit of mira_ingest_backlog_records (--lag-max); 0: none", registry=registry
        )
        self.files_refused = Gauge(
            "mira_ingest_files_refused", "Files of the folder that are not read on now", registry=registry
        )

    def unavailable(self, why: Why) -> None:
        """Show as mira_ingest_unavailable what `why` says when it is asked."""
        self._registry.register(Troubles(INGEST_UNAVAILABLE, why))

    def begin(self, feed: str) -> None:
        """What is counted of a feed is 0 from here on."""
        for outcome in (ACCEPTED, REJECTED, DUPLICATE):
            self.documents.labels(feed, outcome)

    def took(self, feed: str, outcome: str, documents: int) -> None:
        if documents:
            self.documents.labels(feed, outcome).inc(documents)

    def refuse(self, cause: str) -> None:
        self.refused.labels(cause).inc()

    def limits(self, documents: int, bytes_: int) -> None:
        self.capacity.set(documents)
        self.capacity_bytes.set(bytes_)

    def holding(self, documents: int, bytes_: int) -> None:
        self.in_flight.set(documents)
        self.in_flight_bytes.set(bytes_)
