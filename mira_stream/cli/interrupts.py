"""Ctrl-C, and SIGTERM like it: a command ends by KeyboardInterrupt; one that has something under way ends it first."""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def sigterm_as_ctrl_c() -> None:
    """From here on, until somebody else handles it."""
    if _may_handle():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def run(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run. The first signal cancels the work, which may take its time to keep what is under way; the second
    cancels all tasks there are, so that nothing is waited for; the third interrupts whatever runs.

    A background job of a shell script is told to ignore Ctrl-C: it ignores it here, too, but not SIGTERM.
    """
    return asyncio.run(_interruptible(work))


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    told = 0

    def cancel_all() -> None:
        for one in asyncio.all_tasks():
            one.cancel()

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told += 1
        if told > 2:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(task.cancel if told == 1 else cancel_all)

    heeded = [one for one in STOP_SIGNALS if _may_handle() and signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in heeded}
    try:
        return await work
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _may_handle() -> bool:
    """Signals are the main thread's."""
    return threading.current_thread() is threading.main_thread()
