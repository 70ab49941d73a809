"""Why a service does nothing now, as metrics: one series a known cause, 0 while it does not hold."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mira_stream.errors import MiraError

INGEST_UNAVAILABLE: Final = "mira_ingest_unavailable"
EXPORT_UNAVAILABLE: Final = "mira_export_unavailable"
HELP: Final = {
    INGEST_UNAVAILABLE: "1 while every request is answered 503, by the error's code",
    EXPORT_UNAVAILABLE: "1 while the exporter waits for its folder, by the error's code",
}
CAUSES: Final = {
    INGEST_UNAVAILABLE: (
        "backlog_unknown",
        "broker_failed",
        "broker_refused",
        "broker_silent",
        "broker_unreachable",
        "commit_unknown",
        "documents_blocked",
        "not_started",
        "producer_fenced",
        "stopping",
        "topic_missing",
    ),
    EXPORT_UNAVAILABLE: ("disk_full", "export_gone", "export_silent", "export_unwritable"),
}
"""Those that are shown from the start. Others are shown while they hold."""

Why = Callable[[], MiraError | None]


class Troubles(Collector):
    """Asks `why` whenever metrics are read: a gauge would have to be told of every change."""

    def __init__(self, name: str, why: Why) -> None:
        self._name = name
        self._causes: Sequence[str] = CAUSES[name]
        self._why = why

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield self._family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = self._family()
        error = self._why()
        now = "" if error is None else error.code
        for cause in sorted({*self._causes, now} - {""}):
            family.add_metric([cause], float(cause == now))
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._name, HELP[self._name], labels=["cause"])
