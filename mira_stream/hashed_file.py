"""A file that hashes what is written to it: what pyarrow, or any writer that never seeks, needs of a sink."""

import os
from hashlib import sha256
from pathlib import Path


class HashedFile:
    """A new file; raises FileExistsError if it is there already."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._digest = sha256()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        """Make what was written outlast a power failure."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def digest(self) -> str:
        """Hex sha256 of what was written so far."""
        return self._digest.hexdigest()
