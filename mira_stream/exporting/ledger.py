"""The last Export message of a partition."""

from typing import Final

from mira_stream.messages import Export, decoder
from mira_stream.records import LogReader, Record, TopicPartition

_decode: Final = decoder(Export).decode
FIRST_LOOK: Final = 64


async def last_export(reader: LogReader, partition: TopicPartition) -> Export | None:
    """Looks back from the end of the log in growing steps: compaction may be late, and markers take offsets too."""
    first, end = (await reader.bounds([partition]))[partition]
    start, look = end, FIRST_LOOK
    while start > first:
        start = max(first, end - look)
        last: Record | None = None
        async for record in reader.read(partition, start, end):
            last = record
        if last is not None and last.value is not None:
            return _decode(last.value)
        look *= 8
    return None
