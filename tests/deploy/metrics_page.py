"""All metrics of ours, as a page: `python -m tests.deploy.metrics_page` writes deploy/METRICS.md anew; a test compares.

The texts are those of /metrics itself, so page and product cannot differ.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from mira_stream.cli.up_board import Board
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.troubles import CAUSES, Troubles
from mira_stream.streaming.watch_metrics import WatchMetrics
from tests.machine import ROOT

PAGE: Final = ROOT / "deploy" / "METRICS.md"
UNITS: Final = {
    "seconds": "seconds",
    "bytes": "bytes",
    "ratio": "share, 0 to 1",
    "tokens": "tokens",
    "offsets": "offsets",
    "records": "offsets",
}
"""By the last word of a name without `_total`; else it is a number of what the meaning says."""
HEAD: Final = """# Metrics

Every metric that a service of mira-stream shows at `/metrics`, as the service describes it. Written by
`python -m tests.deploy.metrics_page`; a test holds page, product, alerts, Grafana dashboard and KEDA together.

Counters end in `_total` and only grow. Of a histogram there are `_bucket{le}`, `_sum` and `_count`. A process shows at
most 2,000 series, whatever it is given: the busiest 50 sources and the first 60 partitions by name, and of many groups
as many as there is room for; the rest is `other`. `mira_committed_lag_seconds`, by which KEDA scales, names up to 1,500
groups, and what is beyond is `other`, too, which KEDA does not ask for. What is counted, and what can be 0, is 0 from
the start; what is not known has no series. Prometheus adds `project`, `job` and `instance`.
"""


class Row(NamedTuple):
    """`name` as it is asked for; `labels` sorted."""

    service: str
    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def unit(self) -> str:
        return UNITS.get(self.name.removesuffix("_total").rpartition("_")[2], "number")


def registries() -> Iterator[tuple[str, CollectorRegistry]]:
    """By who shows it. The board's holds the stages' metrics, too: they count where they are first."""
    registry = CollectorRegistry()
    with Metrics(registry).exporting(lambda: None):
        yield "scorer, aggregator, exporter", registry
    registry = CollectorRegistry()
    IngestMetrics(registry)
    for name in CAUSES:
        if name.startswith("mira_ingest"):
            registry.register(Troubles(name, lambda: None))
    yield "produce http, produce watch", registry
    registry = CollectorRegistry()
    WatchMetrics(registry)
    yield "reliability watch", registry
    yield "up", Board(lambda services, kept: None, "").metrics.registry


def rows() -> list[Row]:
    found: dict[str, Row] = {}
    for service, registry in registries():
        for collector in list(registry._collector_to_names):
            labels = getattr(collector, "_labelnames", None)
            for family in getattr(collector, "describe")():  # noqa: B009 - of all collectors that are ours
                name = f"{family.name}_total" if family.type == "counter" else family.name
                of = labels if isinstance(collector, MetricWrapperBase) else getattr(family, "_labelnames", ())
                found.setdefault(name, Row(service, name, family.type, tuple(sorted(of or ())), family.documentation))
    return sorted(found.values(), key=lambda row: row.name)


def page() -> str:
    lines = [HEAD]
    by_service: dict[str, list[Row]] = {}
    for row in rows():
        by_service.setdefault(row.service, []).append(row)
    for service, some in by_service.items():
        lines += [f"## {service[0].upper()}{service[1:]}", "", "| metric | type | unit | labels | meaning |"]
        lines.append("|---|---|---|---|---|")
        for row in some:
            labels = ", ".join(f"`{label}`" for label in row.labels) or "-"
            lines.append(f"| `{row.name}` | {row.kind} | {row.unit} | {labels} | {row.meaning} |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
