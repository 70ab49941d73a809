"""Committed offsets, without a trap of aiokafka 0.14.

From version 2 on an answer to OffsetFetch has an error of its own beside those of partitions, and names no partition
then: the coordinator is loading the group, as after every start of a broker, or is another one by now. aiokafka does
not look at it and says that nothing was ever committed. Whoever believes that begins at the log's start.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import NoError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

Send = Callable[..., Awaitable[Any]]


def checked(send: Send, moved: Callable[[], None] = lambda: None) -> Send:
    """`send`, but an error of a whole OffsetFetch is raised; `moved` is called when another is the coordinator."""

    async def send_checked(request: Any, *arguments: Any) -> Any:
        response = await send(request, *arguments)
        if isinstance(request, OffsetFetchRequest):
            error = for_code(getattr(response, "error_code", 0))
            if error is NotCoordinatorForGroupError:
                moved()
            if error is not NoError:
                raise error("the coordinator's answer for the whole group")
        return response

    return send_checked
