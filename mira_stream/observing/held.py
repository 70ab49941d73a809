"""Transactions that do not end, as services measure them, and whom they hold up. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from mira_stream.observing.snapshot import StageName
from mira_stream.streaming.limits import OPEN_TRANSACTION_FIX

OPEN_S: Final = 30.0
"""A broker ends one that is left alone after `transaction_timeout_ms` (20 s), and looks for such every 10 s."""
READ_BY: Final[Mapping[str, StageName]] = {
    "documents": "scorer",
    "progress": "scorer",
    "scores": "aggregator",
    "state": "aggregator",
    "decisions": "export",
    "exports": "export",
    "ingest": "producer",
}
"""Who stands when nothing behind an offset of the topic can be read."""


def held(open_s: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The longest of each topic, in seconds, of those that should have ended."""
    found: dict[str, float] = {}
    for topic, seconds in open_s:
        if seconds > OPEN_S:
            found[topic] = max(seconds, found.get(topic, 0.0))
    return found


def stage_of(topic: str) -> StageName | None:
    """`topic` with its prefix and, of documents, its group."""
    return next((stage for name, stage in READ_BY.items() if f".{name}." in f".{topic}."), None)


def reason(topic: str, seconds: float) -> str:
    return f"a transaction in {topic} has been open for {seconds:.0f} s: nothing behind it can be read"


def reasons(found: Mapping[str, float]) -> list[str]:
    """The longest first."""
    return [reason(topic, seconds) for topic, seconds in sorted(found.items(), key=lambda one: (-one[1], one[0]))]


def notes(found: Mapping[str, float]) -> list[str]:
    """For a person, also where no stage waits for it."""
    return [f"{reason(topic, seconds)}; do: {OPEN_TRANSACTION_FIX}" for topic, seconds in sorted(found.items())]
