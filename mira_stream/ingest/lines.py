"""Lines of a byte stream in bounded memory: a giant line is hashed and counted, never held."""

from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO, Final, NamedTuple

LINE_BYTES_MAX: Final = 16 * 2**20
HEAD_BYTES: Final = 48_000
"""How much of a rejected row a dead letter shows: 64 kB of base64."""
PIECE_BYTES: Final = 2**20


class Giant(NamedTuple):
    """What is known of bytes that are too many to hold."""

    sha256: str
    size: int
    head: bytes


class Line(NamedTuple):
    """`start` and `end` count bytes of the stream, the line's end included in `end` and in `data`."""

    start: int
    end: int
    data: bytes | Giant


def read_lines(stream: BinaryIO, start: int, line_bytes_max: int = LINE_BYTES_MAX) -> Iterator[Line]:
    """Lines from the stream's position on, which is byte `start`. Raises OSError as the stream does."""
    while data := stream.readline(line_bytes_max + 1):
        line: bytes | Giant = data
        length = len(data)
        if length > line_bytes_max and not data.endswith(b"\n"):
            line, length = _giant(stream, data)
        yield Line(start, start + length, line)
        start += length


def giant_of(stream: BinaryIO) -> Giant:
    """Everything that is left of a stream."""
    first = stream.read(PIECE_BYTES)
    digest, length = sha256(first), len(first)
    while piece := stream.read(PIECE_BYTES):
        digest.update(piece)
        length += len(piece)
    return Giant(digest.hexdigest(), length, first[:HEAD_BYTES])


def _giant(stream: BinaryIO, first: bytes) -> tuple[Giant, int]:
    """The rest of a line that began with `first`; the hash leaves its newline out, the length does not."""
    digest, length = sha256(first), len(first)
    while piece := stream.readline(PIECE_BYTES):
        digest.update(piece.removesuffix(b"\n"))
        length += len(piece)
        if piece.endswith(b"\n"):
            return Giant(digest.hexdigest(), length - 1, first[:HEAD_BYTES]), length
    return Giant(digest.hexdigest(), length, first[:HEAD_BYTES]), length
