"""What documents are in the log, read from it: when a producer begins, and when an answer of the broker was lost."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from mira_stream.errors import DataLossError, DependencyError
from mira_stream.ingest.known import Known
from mira_stream.ingest.posted import mark_of
from mira_stream.messages import Document, decoder
from mira_stream.records import LogReader, TopicPartition

LOOK_EVERY_S: Final = 0.05
_document: Final = decoder(Document)


class Remembering:
    """Fills a Known from documents' topics. Of each partition at most `known.ids_max` / partitions offsets are read
    the first time: evenly, since the newest documents of a topic are spread over its partitions by id."""

    def __init__(self, reader: LogReader, topics: Sequence[str], known: Known, blocked_s: float) -> None:
        self._reader = reader
        self._topics = topics
        self._known = known
        self._blocked_s = blocked_s
        self._next: dict[TopicPartition, int] = {}
        self._found: list[tuple[int, str, bytes]] = []  # (timestamp, id, mark): read, but not yet known

    async def settle(self) -> None:
        """Everything that is in the log now is known: later reading may begin here."""
        for partition, (_, stable) in (await self._reader.bounds(await self._partitions())).items():
            self._next[partition] = max(stable, self._next.get(partition, 0))

    async def catch_up(self) -> None:
        """Read to the end that each log has now, open transactions of others included.

        Call it when the own producer has fenced its older owners: then none of its own is open. What was read when it
        fails is kept: called again, it goes on behind it. Raises DependencyError if nothing more can be read for
        `blocked_s`, as when another one's transaction stays open.
        """
        partitions = await self._partitions()
        ends = await self._reader.high_watermarks(partitions)
        share = max(1, self._known.ids_max // max(1, len(partitions)))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._blocked_s) as patience:

                def moved() -> None:
                    patience.reschedule(loop.time() + self._blocked_s)

                for partition in partitions:
                    await self._read(partition, ends[partition], share, moved)
        except TimeoutError:
            raise DependencyError(
                "documents_blocked",
                f"nothing more of a documents' topic could be read for {self._blocked_s:g} s: another producer keeps a"
                " transaction open on it, or the broker does not answer",
                "it goes on by itself: the broker ends a dead producer's transaction after its transaction_timeout_ms",
            ) from None
        self._found.sort()  # over all partitions, so that the newest stay known
        for _, id_, mark in self._found:
            self._known.add(id_, mark)
        self._found.clear()

    async def _read(self, partition: TopicPartition, end: int, share: int, moved: Callable[[], None]) -> None:
        """Find each document up to `end`; `moved` is told of every step ahead."""
        while True:
            first, stable = (await self._reader.bounds([partition]))[partition]
            start = max(first, self._next.get(partition, end - share))
            until = min(stable, end)
            try:
                async for record in self._reader.read(partition, start, until):
                    self._next[partition] = record.offset + 1  # with what was found of it, or a failure forgets ids
                    moved()
                    try:
                        document = _document.decode(record.value or b"")
                    except msgspec.DecodeError:
                        continue  # no document: the scorer makes a dead letter of it
                    self._found.append((record.timestamp_ms, document.id, mark_of(document)))
            except DataLossError:
                continue  # retention has moved the first offset meanwhile
            if max(start, until) > self._next.get(partition, -1):
                self._next[partition] = max(start, until)
                moved()
            if until >= end:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _partitions(self) -> list[TopicPartition]:
        return [partition for topic in self._topics for partition in await self._reader.partitions(topic)]
