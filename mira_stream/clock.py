"""Time at the edges; pure code takes `now` as an argument."""

import time
from collections.abc import Callable
from datetime import datetime

Monotonic = Callable[[], float]
"""Seconds that never go backwards."""

monotonic: Monotonic = time.monotonic


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def start_ms(text: str) -> int:
    """An ISO 8601 time with its offset from UTC, in ms since 1970. Raises ValueError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"start = {text!r}: neither earliest, latest nor a time like 2026-01-31T00:00:00Z") from None
    if time.tzinfo is None:
        raise ValueError(f"start = {text!r} has no offset from UTC; write {text}Z")
    return int(time.timestamp() * 1000)
