"""Where each feed stands: the last IngestPosition of each, read from the log."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Final, Literal

from msgspec.structs import replace

from mira_stream.errors import DataLossError, DependencyError
from mira_stream.ingest.files import CorpusFile, etag_of, etag_size
from mira_stream.messages import IngestPosition, decoder, encode
from mira_stream.records import LogReader, Outgoing

_decode: Final = decoder(IngestPosition).decode
LOOK_EVERY_S: Final = 0.05
CHANGED_FIX: Final = "put the old file back, name the new one as another source, or read it from its start with --again"
CHANGED_COPY_FIX: Final = (
    "put the old file back; or give the new one another name and read it from there, too: produce files --corpus"
    " SOURCE=FILE --missing, which knows rows by ids of their own"
)


class Positions:
    """The newest position of every feed of one `ingest` topic.

    All producers write to its one partition, so another one's open transaction may hide a position of ours that is
    committed: a reader sees nothing behind it. Therefore a producer first commits an `opening` of its own, and knows
    its positions only when it sees that.
    """

    def __init__(self, reader: LogReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic
        self._next_offset = 0
        self._found: dict[str, IngestPosition] = {}
        """In the order in which they stand in the log."""

    def opening(self, feed: str, token: str) -> Outgoing:
        """To be committed by a producer that has fenced its older owners; `token` tells it from all others."""
        position = IngestPosition(feed=f"@{feed}", etag=token, unit="row", next=0, documents=0, rejected=0, done=False)
        return Outgoing(self._topic, position.feed.encode(), encode(position), 0)

    async def catch_up(self, feed: str, token: str, timeout_s: float) -> None:
        """Read up to the opening. Raises DependencyError if it stays hidden for `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.read_new()
                while (opening := self.of(f"@{feed}")) is None or opening.etag != token:
                    await asyncio.sleep(LOOK_EVERY_S)
                    await self.read_new()
        except TimeoutError:
            raise DependencyError(
                "ingest_blocked",
                f"another producer has kept a transaction on {self._topic} open for {timeout_s:g} s",
                "start again: the broker ends a dead producer's transaction after its transaction_timeout_ms",
            ) from None

    def opened_before(self, feed: str, source: str, token_start: str) -> list[str]:
        """Feeds of the source whose last opening stands before that of `feed`, with a token that begins so."""
        names = list(self._found)
        before = [self._found[name] for name in names[: names.index(f"@{feed}")] if name.startswith(f"@{source}:")]
        return [one.feed[1:] for one in before if one.etag.startswith(token_start)]

    def has_others(self, source: str, feeds: Collection[str]) -> bool:
        """Whether something of the source was read from other feeds than these."""
        return any(
            one.next > 0 and one.feed.startswith(f"{source}:") and one.feed not in feeds for one in self._found.values()
        )

    def of(self, feed: str) -> IngestPosition | None:
        return self._found.get(feed)

    def committed(self, positions: Iterable[IngestPosition]) -> None:
        """Take in positions that the only producer of their feeds has committed."""
        self._found.update((position.feed, position) for position in positions)

    async def read_new(self) -> None:
        """Take in what can be seen now; for a producer that is not enough (see above)."""
        for partition in await self._reader.partitions(self._topic):
            first, end = (await self._reader.bounds([partition]))[partition]
            async for record in self._reader.read(partition, max(first, self._next_offset), end):
                if record.value is not None:
                    position = _decode(record.value)
                    self._found.pop(position.feed, None)
                    self._found[position.feed] = position
            self._next_offset = max(self._next_offset, end)


def feed_of(source: str, uri: str) -> str:
    """The name of one file of one source."""
    return f"{source}:{uri}"


def go_on(
    feed: str, file: CorpusFile, last: IngestPosition | None, again: bool, changed_fix: str = CHANGED_FIX
) -> IngestPosition:
    """The position to read a file from: the last one, or its start. `changed_fix`: what to do with one that changed.

    A JSON Lines file that has grown since, or was cut off and is whole now, goes on where it ended. Any other change
    raises DataLossError, or with `again` starts over (counts go on).
    """
    etag = etag_of(file.path, file.end)
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
        changed_fix,
    )


def _has_grown(file: CorpusFile, last: IngestPosition) -> bool:
    """Whether the file begins with all that it was, and what was read of it ended with a whole line.

    A compressed file counts only if it was cut off before: where its last line ended cannot be seen.
    """
    if file.format not in ("jsonl", "jsonl.gz", "jsonl.zst") or (file.format != "jsonl" and last.done):
        return False
    size = etag_size(last.etag)
    length = file.path.stat().st_size if file.end is None else file.end
    if size is None or length <= size or etag_of(file.path, size) != last.etag:
        return False
    return file.format != "jsonl" or last.next == 0 or _ends_a_line(file, last.next)


def _ends_a_line(file: CorpusFile, place: int) -> bool:
    """Whether a line's end lies before or behind a byte."""
    with file.path.open("rb") as stream:
        stream.seek(place - 1)
        return b"\n" in stream.read(2)
