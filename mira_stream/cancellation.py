"""Whose cancellation a CancelledError is.

A library that gives up below us may raise CancelledError (a future it cancelled is waited for again). No `except
Exception` sees it, and a task that ends by it ends without a word: as if somebody had asked it to.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeVar

from mira_stream.errors import DependencyError

T = TypeVar("T")


def is_cancelled() -> bool:
    """Whether somebody has asked the running task to end, or a timeout around us has run out."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def only_ours(doing: str) -> Iterator[None]:
    """A CancelledError that nobody asked for leaves as DependencyError(interrupted), which is seen and tried again."""
    try:
        yield
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        at = extract_tb(error.__traceback__)[-1]
        where = f"{at.name}, {Path(at.filename).name}:{at.lineno}"
        raise DependencyError(
            "interrupted", f"{doing}: ended as cancelled ({where}), and nobody had cancelled it", "it is tried again"
        ) from error


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """The work's result. Whoever is cancelled meanwhile, as often as may be, is so once the work has ended: for a
    clean-up that must end before the next one begins, and does so by itself."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        _ = task.cancelled() or task.exception()  # looked at: the cancellation is what goes up
        raise cancelled
    return task.result()
