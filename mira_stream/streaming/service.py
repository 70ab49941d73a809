"""The life of a service: start, run until told to stop, drain; a second signal forces."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_service(main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run `main(stop)` on uvloop. SIGTERM or SIGINT sets `stop`; a second one cancels `main`.

    Raises whatever `main` raises; asyncio.CancelledError after the second signal.
    """
    return uvloop.run(_supervised(main))


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a task group that is no group itself: the one to show."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _supervised(main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    stop = asyncio.Event()
    task = asyncio.ensure_future(main(stop))
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        return await task
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
