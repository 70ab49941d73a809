"""Groups what is read into transactions: documents, dead letters, and the positions that go with them."""

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Final, NamedTuple

from msgspec.structs import replace

from mira_stream.errors import MiraError
from mira_stream.ingest.files import CorpusFile
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.ports import Readers
from mira_stream.ingest.reading import Reading, read_file
from mira_stream.messages import IngestPosition, encode
from mira_stream.records import Outgoing

BATCH_ROWS: Final = 2_000
BATCH_BYTES: Final = 8 * 2**20


_chance: Final = Random()
"""Seeded by the system, and by nobody else: ids of traces must differ between processes, and need not be secret."""


class Topics(NamedTuple):
    """Names of the topics that a file producer writes."""

    documents: str
    dead_letters: str
    ingest: str


class Batch(NamedTuple):
    """The records of one transaction, how many documents and rejected rows are among them, and the positions that
    are the last of them. `again`: documents that the positions have counted before."""

    records: list[Outgoing]
    documents: int
    rejected: int
    positions: tuple[IngestPosition, ...] = ()
    again: int = 0


def every(reading: Reading) -> bool:
    return True


def batches(
    files: Iterable[tuple[CorpusFile, IngestPosition]],
    mapping: RowMapping,
    topics: Topics,
    readers: Readers,
    rows_max: int = BATCH_ROWS,
    on_error: Callable[[CorpusFile, MiraError], None] | None = None,
    takes: Callable[[Reading], bool] = every,
) -> Iterator[Batch]:
    """Reads the files one after the other from their positions on; a file that is done is passed over. Rows that
    `takes` does not want are passed over, too, and count as read.

    Raises ConfigError or DataLossError as `read_file` does, after a last batch of what was read before; with `on_error`
    it is told of the error instead, and the other files are read.
    """
    pending = _Pending(topics)
    for file, start in files:
        if start.done:
            continue
        pending.at(start)
        try:
            for reading in read_file(file, start.etag, mapping, start.next, readers):
                if not takes(reading):
                    pending.pass_over(reading)
                    continue
                pending.add(reading)
                if len(pending.records) >= rows_max or pending.bytes >= BATCH_BYTES:
                    yield pending.take()
        except MiraError as error:
            if on_error is None:
                if pending.records:
                    yield pending.take()
                raise
            pending.left()
            on_error(file, error)
            continue
        pending.done()
        if len(pending.records) >= rows_max:
            yield pending.take()
    if pending.positions:
        yield pending.take()


def batches_again(
    files: Iterable[tuple[CorpusFile, IngestPosition]],
    mapping: RowMapping,
    topics: Topics,
    readers: Readers,
    takes: Callable[[Reading], bool],
    rows_max: int = BATCH_ROWS,
) -> Iterator[Batch]:
    """The documents that `takes`, which is asked for each row, wants of those before the files' positions, which stay
    where they are.

    Raises like `read_file`, after a last batch of what was read before.
    """
    records: list[Outgoing] = []
    size = 0
    try:
        for file, position in files:
            for reading in _read_before(file, position, mapping, readers):
                if not takes(reading) or reading.rejected:
                    continue
                records.append(_document(topics, reading))
                size += len(reading.value)
                if len(records) >= rows_max or size >= BATCH_BYTES:
                    yield Batch(records, 0, 0, again=len(records))
                    records, size = [], 0
    except MiraError:
        if records:
            yield Batch(records, 0, 0, again=len(records))
        raise
    if records:
        yield Batch(records, 0, 0, again=len(records))


def _read_before(
    file: CorpusFile, position: IngestPosition, mapping: RowMapping, readers: Readers
) -> Iterator[Reading]:
    """Rows that begin before the position: a last line without an end may have one by now."""
    begins = 0
    if position.next == 0:
        return
    for reading in read_file(file, position.etag, mapping, 0, readers):
        if begins >= position.next:
            return
        yield reading
        begins = reading.next


def _document(topics: Topics, reading: Reading) -> Outgoing:
    key = None if reading.id is None else reading.id.encode()
    return Outgoing(topics.documents, key, reading.value, headers=(("traceparent", _traceparent()),))


class _Pending:
    """What the next transaction will hold."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._now: IngestPosition
        self._clear()

    def _clear(self) -> None:
        self.records: list[Outgoing] = []
        self.positions: dict[str, IngestPosition] = {}
        self.bytes = 0
        self._rejected = 0

    def at(self, position: IngestPosition) -> None:
        """Go over to another file."""
        self._now = position
        self._next, self._documents, self._letters = position.next, position.documents, position.rejected

    def add(self, reading: Reading) -> None:
        if reading.rejected:
            self._letters += 1
            self._rejected += 1
            key = None if reading.id is None else reading.id.encode()
            self.records.append(Outgoing(self._topics.dead_letters, key, reading.value))
        else:
            self._documents += 1
            self.records.append(_document(self._topics, reading))
        self._next = reading.next
        self.bytes += len(reading.value)

    def pass_over(self, reading: Reading) -> None:
        self._next = reading.next

    def left(self) -> None:
        """Go on without the rest of this file. A file of which nothing was read has no position."""
        if self._next != self._now.next:
            self._mark(done=False)

    def done(self) -> None:
        self._mark(done=True)

    def take(self) -> Batch:
        """The batch so far, positions last."""
        if self._now.feed not in self.positions and self._next != self._now.next:
            self._mark(done=False)
        positions = tuple(self.positions.values())
        told = [Outgoing(self._topics.ingest, position.feed.encode(), encode(position)) for position in positions]
        batch = Batch([*self.records, *told], len(self.records) - self._rejected, self._rejected, positions)
        self._clear()
        return batch

    def _mark(self, done: bool) -> None:
        self.positions[self._now.feed] = replace(
            self._now, next=self._next, documents=self._documents, rejected=self._letters, done=done
        )


def _traceparent() -> bytes:
    """A new trace (W3C Trace Context, version 00, sampled)."""
    chance = f"{_chance.getrandbits(192):048x}"
    return f"00-{chance[:32]}-{chance[32:]}-01".encode()
