"""Where each feed stands: the last IngestPosition of each, read from the log."""

from typing import Literal

from msgspec.structs import replace

from mira_stream.errors import DataLossError
from mira_stream.ingest.files import CorpusFile, etag_of, etag_size
from mira_stream.messages import IngestPosition, decoder
from mira_stream.records import LogReader

_decode = decoder(IngestPosition).decode


class Positions:
    """The newest position of every feed of one `ingest` topic; `refresh` reads only what is new."""

    def __init__(self, reader: LogReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic
        self._read_up_to = 0
        self._found: dict[str, IngestPosition] = {}

    async def refresh(self) -> None:
        """Call it after the feed's older producers were fenced: only then can no newer position appear."""
        for partition in await self._reader.partitions(self._topic):
            first, end = (await self._reader.bounds([partition]))[partition]
            async for record in self._reader.read(partition, max(first, self._read_up_to), end):
                if record.value is not None:
                    position = _decode(record.value)
                    self._found[position.feed] = position
            self._read_up_to = max(self._read_up_to, end)

    def of(self, feed: str) -> IngestPosition | None:
        return self._found.get(feed)


def feed_of(source: str, uri: str) -> str:
    """The name of one file of one source."""
    return f"{source}:{uri}"


def go_on(feed: str, file: CorpusFile, last: IngestPosition | None, again: bool) -> IngestPosition:
    """The position to read a file from: the last one, or its start.

    A JSON Lines file that has grown since goes on where it ended. Any other change raises DataLossError, or with
    `again` starts over (counts go on).
    """
    etag = etag_of(file.path)
    unit: Literal["byte", "row"] = "byte" if file.format == "jsonl" else "row"
    start = IngestPosition(feed=feed, etag=etag, unit=unit, next=0, documents=0, rejected=0, done=False)
    if last is None:
        return start
    if last.unit == unit and last.etag == etag:
        return last
    if last.unit == unit and _has_grown(file, last):
        return replace(last, etag=etag, done=False)
    if again:
        return replace(start, documents=last.documents, rejected=last.rejected)
    raise DataLossError(
        "source_changed",
        f"{file.path} is not the file of which {last.documents + last.rejected} documents were read before",
        "put the old file back, name the new one as another source, or read it from its start with --again",
    )


def _has_grown(file: CorpusFile, last: IngestPosition) -> bool:
    """Whether the file begins with all that it was, and what was read of it ended with a whole line."""
    if file.format != "jsonl":
        return False
    size = etag_size(last.etag)
    if size is None or file.path.stat().st_size <= size or etag_of(file.path, size) != last.etag:
        return False
    with file.path.open("rb") as stream:
        stream.seek(max(0, last.next - 1))
        around = stream.read(2)
    return last.next == 0 or around[:1] == b"\n" or around[1:] == b"\n"
