"""Metrics of the watch, on the registry of its process. Series are bounded: sources, dimensions, arms and reasons."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from mira_stream.label_messages import TeacherLabel
from mira_stream.reliability.monitor import CellStatus, Status
from mira_stream.streaming.bounded import Busiest

ANSWERED: Final = "answered"
SOURCES_MAX: Final = 18
"""With fifteen dimensions and six gauges a source: sources under alarm first, then those with the most labels."""


class WatchMetrics:
    """Implements watching.ports.WatchMetrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.labels = Counter(
            "mira_watch_labels_total",
            "Documents that went to the teacher, too; outcome is answered or a reason",
            ["source", "arm", "outcome"],
            registry=registry,
        )
        self.tokens = Counter(
            "mira_watch_tokens_total", "Tokens the teacher was paid for", ["kind"], registry=registry
        )  # fmt: skip
        self.cost = Counter("mira_watch_cost_total", "What the teacher has cost", registry=registry)
        self.silences = Counter(
            "mira_watch_teacher_silent_total", "Times the watch gave a silent teacher a pause", registry=registry
        )
        self.missed_decisions = Counter(
            "mira_watch_missed_total", "Offsets of decisions that were deleted before the watch", registry=registry
        )
        self.lags = Gauge(
            "mira_watch_lag_offsets", "Offsets of decisions the watch has not come to yet", ["group"], registry=registry
        )
        cell = ["source", "dimension"]
        self.mae = Gauge("mira_watch_mae", "MAE of the cell's newest window", cell, registry=registry)
        self.mae_hi = Gauge("mira_watch_mae_upper", "One-sided 90 % upper bound of that MAE", cell, registry=registry)
        self.rho = Gauge("mira_watch_rho", "Spearman's rho of the cell's newest window", cell, registry=registry)
        self.rho_lo = Gauge("mira_watch_rho_lower", "One-sided 90 % lower bound of that rho", cell, registry=registry)
        self.cell_labels = Gauge("mira_watch_cell_labels", "Labels of the newest window", cell, registry=registry)
        self.alarms = Gauge(
            "mira_watch_alarm", "1 while teacher and mask disagree", [*cell, "alarm"], registry=registry
        )  # fmt: skip
        self._shown: Status | None = None
        self._busiest = Busiest(self._end, SOURCES_MAX)

    def labelled(self, label: TeacherLabel) -> None:
        self.labels.labels(self._busiest.count(label.source), label.arm, label.reason or ANSWERED).inc()

    def _end(self, source: str) -> None:
        self.labels.remove_by_labels({"source": source})

    def paid(self, prompt_tokens: int, generation_tokens: int, cost: float) -> None:
        self.tokens.labels("prompt").inc(prompt_tokens)
        self.tokens.labels("generation").inc(generation_tokens)
        self.cost.inc(cost)

    def waited(self) -> None:
        self.silences.inc()

    def missed(self, decisions: int) -> None:
        self.missed_decisions.inc(decisions)

    def lagging(self, group: str, offsets: int) -> None:
        self.lags.labels(group).set(offsets)

    def shown(self, status: Status) -> None:
        """A value that is undefined has no series: a gauge must not show what is not known.

        The same status again changes nothing: a scrape between clearing and setting would see no alarm.
        """
        if status is self._shown:
            return
        self._shown = status
        gauges = (self.mae, self.mae_hi, self.rho, self.rho_lo, self.cell_labels, self.alarms)
        for gauge in gauges:
            gauge.clear()
        shown = shown_sources(status.cells)
        for cell in status.cells:
            if cell.unit.source not in shown:
                continue
            names = (cell.unit.source, cell.slot)
            window = cell.window
            found = (window.mae, window.mae_hi, window.rho, window.rho_lo, window.n)
            for gauge, value in zip(gauges, found, strict=False):
                if value is not None:
                    gauge.labels(*names).set(value)
            if cell.alarm is not None:
                self.alarms.labels(*names, cell.alarm).set(1)


def shown_sources(cells: Sequence[CellStatus]) -> set[str]:
    """The sources whose cells have series."""
    weight: dict[str, tuple[bool, int]] = {}
    for cell in cells:
        source, own = cell.unit.source, (cell.alarm is not None, cell.window.n)
        weight[source] = max(weight.get(source, own), own)
    return set(sorted(weight, key=lambda source: (weight[source], source), reverse=True)[:SOURCES_MAX])
