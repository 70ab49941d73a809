"""Asks a teacher about views, many at once, in the order of the views."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from mira_stream.config import GroupSection
from mira_stream.distill.labels import Label, Wanted, label
from mira_stream.prompt import Prompt
from mira_stream.rubric.anchors import Rubric
from mira_stream.scorecard import parse

Ask = Callable[[list[dict[str, str]]], Awaitable[str]]
"""Chat messages in, the teacher's reply out."""
ROUND: Final = 512


async def teach(
    wanted: Iterable[Wanted], prompt: Prompt, rubric: Rubric, settings: GroupSection, ask: Ask, concurrency: int
) -> AsyncIterator[Label]:
    """A label for every view. Raises DocumentError(reply_unreadable): a teacher that cannot be read labels nothing."""
    places = asyncio.Semaphore(concurrency)

    async def one(view: Wanted) -> Label:
        async with places:
            reply = await ask(prompt.messages(view.view))
        return label(view, parse(reply, settings.layout, rubric.names))

    views: Iterator[Wanted] = iter(wanted)
    while chunk := list(islice(views, ROUND)):
        for row in await asyncio.gather(*(one(view) for view in chunk)):
            yield row
