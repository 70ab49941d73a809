"""Prefix caches that must be empty before what is compared begins."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import DependencyError

WITHIN_S: Final = 30.0
PAUSE_S: Final = 0.05


async def empty(reset: Callable[[], Awaitable[bool]], within_s: float = WITHIN_S, now: Monotonic = monotonic) -> None:
    """Until `reset` says that it is done: vLLM empties nothing while a request has a part of its prefix cache, as one
    that was given up has for a moment. Raises DependencyError(cache_kept) if it has after `within_s`."""
    until = now() + within_s
    while not await reset():
        if now() >= until:
            raise DependencyError(
                "cache_kept",
                f"vLLM could not empty its prefix cache within {within_s:g} s, for requests are in it still:"
                " what came next would live on what came before",
                "let nothing else ask this engine, and measure again",
            )
        await asyncio.sleep(PAUSE_S)
