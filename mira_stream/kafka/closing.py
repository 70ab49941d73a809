"""Ends an aiokafka consumer for certain: its own `stop` waits for a broker that may be gone."""

import asyncio
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
    if not is_stopped:  # a task of its own: it waits for what the first close was cancelled in, and ends as cancelled
        closing = asyncio.create_task(client._client.close())
        await asyncio.wait({closing}, timeout=CLOSE_S)
        await _end({closing})


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
