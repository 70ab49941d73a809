"""The sources that documents are taken of: those of mira.toml, and those that were added while a service runs.

The policy topic is looked at when a document of an unknown source comes, so a source that was registered before its
first document was produced is known in time.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from mira_stream.messages import Mask, Policy
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.sections import SourceSection

_decoder: Final = msgspec.json.Decoder(Policy | Mask)
_PREFIX: Final = "source:"


class Registered:
    """`sources`: by name, with their group. The only owner of what was read of the policy topic here."""

    def __init__(self, topic: str, configured: Mapping[str, SourceSection]) -> None:
        self.sources = dict(configured)
        self._partition = TopicPartition(topic, 0)
        self._next_offset = 0
        self._reading = asyncio.Lock()

    async def look(self, reader: LogReader, source: str) -> bool:
        """Whether the source is registered, by all that was committed until now."""
        async with self._reading:  # many documents of one new source ask at once; one of them reads
            if source not in self.sources:
                await self._refresh(reader)
        return source in self.sources

    async def _refresh(self, reader: LogReader) -> None:
        first, end = (await reader.bounds([self._partition]))[self._partition]
        first = max(first, self._next_offset)
        if first < end:
            async for record in reader.read(self._partition, first, end):
                self._take(record)
            self._next_offset = end

    def _take(self, record: Record) -> None:
        key = (record.key or b"").decode(errors="replace")
        try:
            message = _decoder.decode(record.value or b"")
        except msgspec.DecodeError:
            return  # the aggregator refuses it by name; here it registers nothing
        if isinstance(message, Policy) and message.group is not None and key.startswith(_PREFIX):
            self.sources.setdefault(
                key.removeprefix(_PREFIX), SourceSection(group=message.group, like=message.like or "")
            )
