"""Reads a service's Prometheus metrics: what only the service itself knows (engines, documents in flight)."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S: Final = 2.0
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Gauges(NamedTuple):
    """`engines`: 1 where a group's engine serves; `in_flight`: documents admitted and not settled."""

    engines: Mapping[str, bool]
    in_flight: int


async def scrape(port: int) -> Gauges | None:
    """The scorer's gauges; None while it does not answer yet."""
    text = await asyncio.to_thread(_fetch, port)
    return None if text is None else read_gauges(text)


def read_gauges(text: str) -> Gauges:
    engines: dict[str, bool] = {}
    in_flight = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "mira_engine_up":
                engines[sample.labels["group"]] = sample.value == 1
            elif sample.name == "mira_in_flight" and sample.labels.get("unit") == "documents":
                in_flight += sample.value
    return Gauges(engines, int(in_flight))


def _fetch(port: int) -> str | None:
    try:
        with _direct.open(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode()
            return text
    except (urllib.error.URLError, OSError):
        return None
