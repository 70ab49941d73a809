"""Time at the edges; pure code takes `now` as an argument."""

import time
from collections.abc import Callable

Monotonic = Callable[[], float]
"""Seconds that never go backwards."""

monotonic: Monotonic = time.monotonic


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
