"""Compressed streams."""

from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, cast

import pyarrow as pa

from mira_stream.ingest.ports import Compression

BUFFER_BYTES: Final = 2**20


def open_compressed(path: Path, compression: Compression) -> BinaryIO:
    """The decompressed bytes. Reading raises OSError if the file is damaged or cut off; a gzip or zstd file of
    several members is read to its end."""
    stream = pa.input_stream(str(path), compression=compression, buffer_size=BUFFER_BYTES)
    return cast(BinaryIO, BufferedReader(stream, BUFFER_BYTES))
