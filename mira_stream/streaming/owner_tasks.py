"""The tasks that own a stage's partitions: begun, ended, and waited for until they are gone."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import chain
from typing import Any, Final

import structlog

from mira_stream.records import TopicPartition
from mira_stream.streaming.owner import name_of

log: Final = structlog.get_logger("mira_stream.runner")

END_S: Final = 15.0
END_TIMES: Final = 4
"""So long, and so many times over, the end of a stage waits for its owners before they are cancelled again."""


class OwnerTasks:
    """One task a partition. `work` is what it does; `left` hears of one that ended unasked."""

    def __init__(
        self,
        stage: str,
        work: Callable[[TopicPartition], Coroutine[Any, Any, None]],
        left: Callable[[TopicPartition, asyncio.Task[None]], None],
    ) -> None:
        self._stage = stage
        self._work = work
        self._tell_left = left
        self._running: dict[TopicPartition, asyncio.Task[None]] = {}
        self._ending: dict[TopicPartition, set[asyncio.Task[None]]] = {}

    def __contains__(self, partition: TopicPartition) -> bool:
        return partition in self._running

    def __iter__(self) -> Iterator[TopicPartition]:
        return iter(self._running)

    def task(self, partition: TopicPartition) -> asyncio.Task[None]:
        """The one that is not told to end. Raises KeyError."""
        return self._running[partition]

    def begin(self, partition: TopicPartition) -> None:
        task = self._running[partition] = asyncio.create_task(self._work(partition))
        task.add_done_callback(lambda done, of=partition: self._left(of, done))  # type: ignore[misc]

    async def predecessors(self, partition: TopicPartition) -> None:
        """Until the owners before this one are gone: the lane of one may still be closing."""
        while before := self._ending.get(partition):
            await asyncio.wait(before)

    def end_soon(self, partitions: Sequence[TopicPartition]) -> None:
        """Cancel them; waits for nothing."""
        for partition in partitions:
            task = self._running.pop(partition)
            self._ending.setdefault(partition, set()).add(task)
            task.add_done_callback(lambda done, of=partition: self._ended(of, done))  # type: ignore[misc]
            task.cancel()

    async def end_all(self) -> None:
        """Cancels again who does not end: the group must be left, or what it deals us stands still."""
        self.end_soon(list(self._running))
        for _ in range(END_TIMES):
            running = {task for task in chain.from_iterable(self._ending.values()) if not task.done()}
            if not running:
                return
            _, running = await asyncio.wait(running, timeout=END_S)
            for task in running:
                task.cancel()
        log.error("owners that do not end", stage=self._stage, partitions=[name_of(p) for p in self._ending])

    def _left(self, partition: TopicPartition, task: asyncio.Task[None]) -> None:
        if self._running.get(partition) is task:
            self._tell_left(partition, task)

    def _ended(self, partition: TopicPartition, task: asyncio.Task[None]) -> None:
        self._ending[partition].discard(task)
        if not self._ending[partition]:
            del self._ending[partition]
