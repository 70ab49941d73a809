"""Ends an aiokafka consumer for certain: its own `stop` waits for a broker that may be gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

CLOSE_S: Final = 5.0


async def stop_consumer(client: Any, fetch: "asyncio.Task[Any] | None" = None) -> None:
    """The orderly stop (it leaves the consumer group), and if that takes longer than CLOSE_S, or fails, an end to
    all its tasks and connections. `fetch` is a `getmany` that may still be under way. Never raises."""
    stopping = asyncio.create_task(client.stop())
    await asyncio.wait({stopping}, timeout=CLOSE_S)
    is_stopped = stopping.done() and not stopping.cancelled() and stopping.exception() is None
    tasks = {task for task in (stopping, fetch, *([] if is_stopped else _tasks_of(client))) if task is not None}
    await _end(tasks)
    if not is_stopped:  # it waits for what the first close was cancelled in, and ends as cancelled
        await finish(client._client.close())


async def finish(closing: Coroutine[Any, Any, object]) -> bool:
    """Run aiokafka's closing for at most CLOSE_S; whether it ended in order. Never raises but our own cancellation.

    In a task of its own: aiokafka's client suppresses CancelledError while it closes, and one that was meant for us
    would be lost in there: a task that was told to end would go on for ever.
    """
    task = asyncio.create_task(closing)
    try:
        await asyncio.wait({task}, timeout=CLOSE_S)
    finally:
        is_done = task.done() and not task.cancelled() and task.exception() is None
        await _end({task})
    return is_done


def _tasks_of(client: Any) -> list["asyncio.Task[Any] | None"]:
    coordinator, fetcher = client._coordinator, client._fetcher
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task")
    tasks = [getattr(coordinator, name, None) for name in names]
    if fetcher is not None:
        tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
    return tasks


async def _end(tasks: set["asyncio.Task[Any]"]) -> None:
    """Cancel until they have ended, and look at their errors."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=0.5)
    for task in tasks:
        _ = task.cancelled() or task.exception()
