"""Files that are whole or not there: written beside their place, synced, renamed."""

import os
from collections.abc import Sequence
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, making its folder. Raises OSError as the file system does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with staged.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def write_lines(path: Path, lines: Sequence[bytes]) -> None:
    """A file of lines; without any, no file."""
    if lines:
        replace_file(path, b"".join(line + b"\n" for line in lines))
    else:
        path.unlink(missing_ok=True)
