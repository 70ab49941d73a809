"""Tests of waits that are measured: on a clock that jumps, so that how busy the machine is says nothing of them."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

from mira_stream.testing.loop import VirtualLoop

P = ParamSpec("P")


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The test on a VirtualLoop of its own, and an end to what a failure leaves running. No sockets, no processes; its
    fixtures are of another loop, and may have waited for nothing."""

    async def alone(*args: P.args, **named: P.kwargs) -> None:
        try:
            await test(*args, **named)
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    @wraps(test)
    def run(*args: P.args, **named: P.kwargs) -> None:
        loop = VirtualLoop(random.Random(1))
        try:
            loop.run_until_complete(alone(*args, **named))
        finally:
            loop.close()

    return run
