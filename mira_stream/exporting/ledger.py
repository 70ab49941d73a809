"""The last Export message of a partition, and what it still asks for."""

from pathlib import Path
from typing import Final

from mira_stream.exporting.staging import in_thread, is_staged, put_into_place
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


async def finish_exports(reader: LogReader, topic: str, out: Path) -> None:
    """Put into place what is committed and still staged: a stop may come between a commit and its renames.

    Harmless to a partition's next owner, who would do the same. Raises DependencyError(export_unwritable).
    """
    for partition in await reader.partitions(topic):
        last = await last_export(reader, partition)
        staged = [file for file in last.files if is_staged(out, file)] if last is not None else []
        await in_thread(put_into_place, out, staged)
