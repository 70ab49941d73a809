"""VirtualLoop: an asyncio event loop without real time, whose scheduler is a seed; and processes that can be killed.

Time stands still while anything is ready and then jumps to the next timer. Which of the ready callbacks runs next is
drawn: asyncio promises first in, first out, so whatever survives here does not lean on that promise.

A Process is known by the context that its tasks inherit. The loop throws away what belongs to a dead one: no `finally`
runs, no goodbye is said, as after SIGKILL. What belongs to a paused one waits, as after SIGSTOP.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

TURN_S: Final = 20e-6
"""What a turn of the loop takes: whoever only yields lets time pass, too."""
TURNS_MAX: Final = 3_000_000

_PROCESS: Final[ContextVar["Process | None"]] = ContextVar("process", default=None)


class Stalled(Exception):
    """Nothing is ready and no timer is set: nothing can ever happen again."""


def current_process() -> "Process | None":
    """The process whose code this is."""
    return _PROCESS.get()


class VirtualLoop(asyncio.BaseEventLoop):
    """`rng` alone decides the order of what is ready. `turns` counts callbacks."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.turns = 0
        self.tasks_made = 0
        self.outside = copy_context()
        """The context of no process: what a broker does, or a test."""
        self.outside.run(_PROCESS.set, None)
        self._rng = rng
        self._virtual = 0.0
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._virtual

    def do_outside(self, func: Callable[..., Any], *args: Any) -> None:
        """Call a function as no process: tasks that it makes outlive the caller's."""
        self.outside.copy().run(func, *args)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """There are no threads: the work is done at once, the answer comes a little later."""
        future = self.create_future()
        try:
            self.call_later(self._rng.random() * 0.01, _answer, future, func(*args))
        except Exception as error:  # as a thread hands it over
            future.set_exception(error)
        return future

    def _run_once(self) -> None:
        ready: list[Any] = self._ready  # type: ignore[attr-defined]
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not ready:
            if not timers:
                raise Stalled
            self._virtual = max(self._virtual, timers[0]._when)
        while timers and timers[0]._when <= self._virtual:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        count = len(ready)
        if count > 1:
            ready.rotate(int(self._rng.random() * count))  # type: ignore[attr-defined]
        handle = ready.pop()
        if handle._cancelled:
            return
        process = handle._context.get(_PROCESS)
        if process is None or process.runs:
            self.turns += 1
            if self.turns > TURNS_MAX:
                raise Stalled(f"{self.turns} turns at {self._virtual:.3f} s")
            self._virtual += TURN_S
            handle._run()
        elif not process.dead:
            process.held.append(handle)

    def give_back(self, handles: list[asyncio.Handle]) -> None:
        """What a paused process had to do is ready again."""
        self._ready.extend(handles)  # type: ignore[attr-defined]

    def _write_to_self(self) -> None:
        """There is no other thread that could wait."""


class Process:
    """Tasks that live and die together."""

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self.name = name
        self.dead = False
        self.runs = True
        self.held: list[asyncio.Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self._loop = loop
        self._context: Context = loop.outside.copy()
        self._context.run(_PROCESS.set, self)

    def __repr__(self) -> str:
        return self.name

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self._loop.create_task(work, context=self._context)

    def pause(self) -> None:
        """SIGSTOP."""
        self.runs = False

    def resume(self) -> None:
        """SIGCONT."""
        if not self.dead:
            self.runs = True
            held, self.held = self.held, []
            self._loop.give_back(held)

    def kill(self) -> None:
        """SIGKILL: nothing of it ever runs again."""
        self.dead, self.runs = True, False
        self.held.clear()
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def left(self) -> list[asyncio.Task[Any]]:
        """Its tasks that have not ended."""
        return [task for task in self.tasks if not task.done()]

    def bury(self) -> None:
        """Free what a dead process held. Its `finally` clauses run here: call it when nobody looks any more."""
        for task in self.left():
            coroutine: Any = task.get_coro()
            for _ in range(50):  # one that awaits in its `finally` refuses to end
                with suppress(BaseException):
                    coroutine.close()
                    break
        self.tasks.clear()


class _Task(asyncio.Task[Any]):
    """Sets of tasks have an order that is the same in every run: a task's hash is its number."""

    def __new__(cls, work: Any, *, loop: VirtualLoop, **more: Any) -> "_Task":
        task = super().__new__(cls)
        loop.tasks_made += 1
        task.number = loop.tasks_made
        return task

    number: int

    def __hash__(self) -> int:
        return self.number


def _make_task(loop: Any, work: Any, context: Context | None = None) -> asyncio.Task[Any]:
    task = _Task(work, loop=loop, context=context)
    process = _PROCESS.get() if context is None else context.get(_PROCESS)
    if process is not None:
        process.tasks.append(task)
    return task


def _answer(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)
