"""Metrics by source: series for the 50 busiest sources, `other` for the rest, whatever their number."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mira_stream.messages import Epoch
from mira_stream.streaming.bounded import OTHER, Busiest
from mira_stream.window_messages import WindowSummary
from mira_stream.windows import Added

DECISION_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600)


class SourceMetrics:
    """Everything that has a label `source`. A source that loses its place to a busier one loses its series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(name, help_, ["source", *labels], registry=registry)

        def gauge(name: str, help_: str, *labels: str) -> Gauge:
            return Gauge(name, help_, ["source", *labels], registry=registry)

        self.decisions = counter("mira_decisions_total", "Decisions made", "decision")
        self.event_time_ahead = counter(
            "mira_event_time_ahead_total",
            "Documents whose event time was too far ahead of their ingest time to be believed",
        )
        self.late = counter(
            "mira_late_documents_total",
            "Documents that came when their window was closed; kept no more: they are in no summary",
            "kept",
        )
        self.windows = counter("mira_windows_total", "Windows closed, and corrections of closed ones", "kind")
        self.drifted = gauge(
            "mira_window_drifted",
            "1 if the source's last closed window is not like the documents its student was measured on",
        )
        self.content_errors = counter(
            "mira_export_content_errors_total", "Selected documents whose content was gone"
        )  # fmt: skip
        self.threshold = gauge(
            "mira_epoch_threshold", "Quality at a mark of the epoch in force; none while it is cold", "mark"
        )
        self.decided_documents = gauge(
            "mira_decided_documents", "Decided since the source, or shared threshold, was first seen"
        )
        self.kept_ratio = gauge(
            "mira_kept_ratio", "Share selected of mira_decided_documents, in the unit of the target"
        )
        self.epoch = gauge("mira_epoch", "Number of the epoch in force")
        self.sketch_n = gauge(
            "mira_sketch_n", "Cards in the sketch that the epoch in force was made from; 0: its prior alone"
        )
        self.decision_seconds = Histogram(
            "mira_decision_seconds",
            "From a document's append to its decision",
            buckets=DECISION_BUCKETS_S,
            registry=registry,
        )
        self._busiest = Busiest(self._end)
        self._decided: dict[tuple[str, str], Counter] = {}
        self._labelled = (
            self.decisions,
            self.event_time_ahead,
            self.late,
            self.windows,
            self.drifted,
            self.content_errors,
            self.threshold,
            self.decided_documents,
            self.kept_ratio,
            self.epoch,
            self.sketch_n,
        )

    def decide(self, source: str, decision: str) -> None:
        place = (self._busiest.count(source), decision)
        child = self._decided.get(place)
        if child is None:
            child = self._decided[place] = self.decisions.labels(*place)
        child.inc()

    def window(self, source: str, added: Added) -> None:
        if added.ahead:
            self.event_time_ahead.labels(self._busiest.label(source)).inc()
        if added.late:
            self.late.labels(self._busiest.label(source), "no" if added.too_late else "yes").inc()

    def sum_up(self, summary: WindowSummary) -> None:
        first, label = summary.revision == 1, self._busiest.label(summary.source)
        self.windows.labels(label, "closed" if first else "corrected").inc()
        if first and label != OTHER:
            self.drifted.labels(label).set(summary.drifted)

    def move(self, epoch: Epoch) -> None:
        label = self._busiest.label(epoch.epoch_of)
        if label == OTHER:
            return
        self.epoch.labels(label).set(epoch.epoch)
        self.sketch_n.labels(label).set(epoch.n)
        for name, mark in (("keep", epoch.keep), ("drop", epoch.drop)):
            if mark is None:
                self.threshold.remove(label, name)
            else:
                self.threshold.labels(label, name).set(mark.value)

    def stand(self, of: str, documents: int, kept: float) -> None:
        label = self._busiest.label(of)
        if label != OTHER:
            self.decided_documents.labels(label).set(documents)
            self.kept_ratio.labels(label).set(kept)

    def content_error(self, source: str) -> None:
        self.content_errors.labels(self._busiest.count(source)).inc()

    def _end(self, source: str) -> None:
        for metric in self._labelled:
            metric.remove_by_labels({"source": source})
        for place in [place for place in self._decided if place[0] == source]:
            del self._decided[place]
