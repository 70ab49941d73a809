"""One /metrics text as numbers, and what its counters gained since the one before."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

SERIES_MAX: Final = 5_000
"""Of one service; what a process of ours exports stays far below."""
_MONOTONE: Final = ("_total", "_count", "_sum")


class Series(NamedTuple):
    """A metric's name and its labels, sorted."""

    name: str
    labels: tuple[tuple[str, str], ...]

    def label(self, name: str) -> str:
        """Its value; empty if the series has no such label."""
        return next((value for label, value in self.labels if label == name), "")


Scrape = Mapping[Series, float]


def parse(text: str) -> Scrape:
    """Our own series of a text in Prometheus' exposition format. Raises ValueError if it is none."""
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("mira_"):
            continue
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_created")):
                continue
            if len(found) >= SERIES_MAX:
                raise ValueError(f"more than {SERIES_MAX} series")
            found[Series(sample.name, tuple(sorted(sample.labels.items())))] = sample.value
    return found


def gained(before: Scrape, now: Scrape) -> dict[Series, float]:
    """How much each counter grew. One that is smaller than before began anew at zero, in a new process."""
    grown = {}
    for series, value in now.items():
        if series.name.endswith(_MONOTONE):
            was = before.get(series, 0.0)
            grown[series] = value - was if value >= was else value
    return grown


def select(scrape: Mapping[Series, float], name: str, **labels: str) -> Iterator[tuple[Series, float]]:
    """The series of that name; a label's value ending in `*` stands for all that begin so."""
    for series, value in scrape.items():
        if series.name == name and all(_fits(series.label(key), wanted) for key, wanted in labels.items()):
            yield series, value


def _fits(value: str, wanted: str) -> bool:
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted
