"""The life of a service: start, run until told to stop, drain; a second signal forces."""

import asyncio
import faulthandler
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog
import uvloop

T = TypeVar("T")
log: Final = structlog.get_logger("mira_stream.service")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STACK_SIGNAL: Final = signal.SIGUSR2
"""A service writes the stacks of all its threads to standard error, also while it stands still, and goes on."""
STDERR: Final = 2
GARBAGE: Final = (50_000, 20, 20)
"""Python's default looks for cycles every 700 objects: a tenth of an aggregator's time, for next to none."""


def run_service(main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run `main(stop)` on uvloop. SIGTERM or SIGINT sets `stop`; a second one cancels `main`; STACK_SIGNAL shows where
    it is.

    Raises whatever `main` raises; asyncio.CancelledError after the second signal.
    """
    log_to_stderr()
    gc.set_threshold(*GARBAGE)
    faulthandler.register(STACK_SIGNAL, file=STDERR)
    return uvloop.run(_supervised(main))


async def until_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """The work's result; work that only ends by itself is cancelled when `stop` is set (asyncio.CancelledError)."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        return await task
    finally:
        stopped.cancel()
        task.cancel()


class _Stderr:
    """structlog's PrintLogger for the standard error of the moment: whoever runs us in its own process may change it,
    and loggers are kept from their first use on."""

    def msg(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    debug = info = warning = error = critical = exception = msg


def log_to_stderr() -> None:
    """Standard output is for data: what is logged goes to standard error, one `key=value` line an event. The command
    line calls it for every command; a program of its own that uses the library, for itself."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=True,
    )


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a task group that is no group itself: the one to show."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def done_before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether `work` was done before `stop` was set; if not, it is cancelled and its end waited for.

    Raises its error; only one that comes with the stop is logged instead, for a terminal's signal also strikes the
    processes that `work` has started.
    """
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        was_done = task.done()
        task.cancel()
        await asyncio.wait({task, stopped})
    error = None if task.cancelled() else task.exception()
    if error is None:
        return was_done
    if not stop.is_set():
        raise error
    log.warning("not done before the stop", cause=str(error))
    return False


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
