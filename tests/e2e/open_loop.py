"""Documents posted at a rate, whatever is answered: a slow or full stream gets no rest by being slow."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

from mira_stream.clock import monotonic

SEED = 17


class OpenLoop:
    """Posts one document a request as a Poisson process of `rate` a second, which may be changed at any time."""

    def __init__(self, client: httpx.AsyncClient, document: Callable[[int], dict[str, Any]]) -> None:
        self.rate = 1.0
        self.accepted: Counter[str] = Counter()
        """Answers of 202 by id."""
        self.told_again: dict[int, float] = {}
        """Documents, by number, that were answered 429, and the seconds of Retry-After."""
        self.unavailable: set[int] = set()
        """Documents, by number, that were answered 503 and nothing else since."""
        self.unanswered: set[int] = set()
        """Documents, by number, whose connection was gone before an answer came, and nothing else since: also one that
        was kept alive ends some time, perhaps while it is asked."""
        self.other: list[str] = []
        """All other answers."""
        self.over = asyncio.Event()
        """Nothing more is posted, and every post is answered."""
        self._client = client
        self._document = document
        self._chance = random.Random(SEED)
        self._posts: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; every post is answered then."""
        number, due = 0, monotonic()
        try:
            while not stop.is_set():
                due += self._chance.expovariate(self.rate)
                try:
                    await asyncio.wait_for(stop.wait(), max(0.0, due - monotonic()))
                except TimeoutError:
                    post = asyncio.create_task(self.post(number))
                    self._posts.add(post)
                    post.add_done_callback(self._posts.discard)
                    number += 1
            await asyncio.gather(*self._posts)
        finally:
            self.over.set()

    async def post_again(self) -> None:
        """Whoever was answered 503, or not at all, posts the same again until the answer is another."""
        while left := self.unavailable | self.unanswered:
            for number in left:
                await self.post(number)

    async def post(self, number: int) -> None:
        document = self._document(number)
        try:
            answer = await self._client.post("/v1/documents", json=document)
        except httpx.TransportError:
            self.unanswered.add(number)
            return
        self.unanswered.discard(number)
        if answer.status_code == 202:
            self.accepted[document["id"]] += 1
            self.told_again.pop(number, None)
            self.unavailable.discard(number)
        elif answer.status_code == 503:
            self.unavailable.add(number)
        elif answer.status_code == 429:
            self.told_again[number] = float(answer.headers["retry-after"])
        else:
            self.other.append(f"{answer.status_code} {answer.text}")
