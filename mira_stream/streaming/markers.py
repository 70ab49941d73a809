"""Behind the last record of a quiet partition stand offsets without a record: markers of transactions, aborted ones.

No reader is handed them, so a stage that commits "last record + 1" stops in front of them. Retention then deletes the
record and its marker, and the position lies before the first retained offset: as if records had been lost.
"""

from typing import Final

from mira_stream.records import LogReader
from mira_stream.streaming.lane import Lane

LOOK: Final = 100
"""Offsets looked at in one go: a partition that only waits for admission has records there, and reads them twice."""


async def pass_markers(lane: Lane, reader: LogReader) -> None:
    """If a lane that has done all it was given has no record before it, it finishes what is there instead: the next
    transaction commits it. A lane that gets a record meanwhile needs none of this."""
    position, (first, end) = lane.position, lane.bounds
    end = min(end, position + LOOK)
    if lane.unfinished or not first <= position < end:
        return
    found = [record.offset async for record in reader.read(lane.partition, position, end)]
    if not found and lane.position == position and not lane.unfinished:
        lane.position = end
        lane.span.pass_over(end)
        lane.changed.set()
