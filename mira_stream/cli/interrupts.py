"""Ctrl-C, and SIGTERM like it: a command ends by KeyboardInterrupt; one that has something under way ends it first."""

import asyncio
import signal
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def sigterm_as_ctrl_c() -> None:
    """From here on, until somebody else handles it."""
    if _may_handle():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def run(work: Coroutine[Any, Any, T], new_loop: Callable[[], AbstractEventLoop] | None = None) -> T:
    """As asyncio.run, also on another kind of loop. The first signal cancels the work, which may take its time to keep
    what is under way; the second cancels all tasks there are, so that nothing is waited for. A signal interrupts
    whatever runs if the one before was not heeded yet (the loop is kept busy), and the third does in any case.

    Raises KeyboardInterrupt where the work was cancelled by a signal. A background job of a shell script is told to
    ignore Ctrl-C: it ignores it here, too, but not SIGTERM.
    """
    signals = _Signals()
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(signals.stop(work))
    except asyncio.CancelledError:
        if signals.told:
            raise KeyboardInterrupt from None
        raise


class _Signals:
    """What has come of them, and how many of them the loop has heeded."""

    def __init__(self) -> None:
        self.told = 0
        self._heeded = 0

    async def stop(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result; a signal meanwhile stops it."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def heed() -> None:
            self._heeded += 1
            for one in [task] if self._heeded == 1 else asyncio.all_tasks():
                one.cancel()

        def on_signal(number: int, frame: FrameType | None) -> None:
            self.told += 1
            if self.told > 2 or self._heeded < self.told - 1:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(heed)

        handled = [one for one in STOP_SIGNALS if _may_handle() and signal.getsignal(one) is not signal.SIG_IGN]
        before = {number: signal.signal(number, on_signal) for number in handled}
        try:
            return await work
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _may_handle() -> bool:
    """Signals are the main thread's."""
    return threading.current_thread() is threading.main_thread()
