"""The temporary folder of a bench's own Kafka: locked while the bench lives, so that the next bench can tell and remove
those of benches that were killed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mira_stream.broker_local.data_dir import DataDir


@contextmanager
def own_folder(prefix: str) -> Iterator[Path]:
    """A new folder `prefix`-... for temporary files, locked meanwhile; to remove it is the caller's part."""
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}-"))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)


def remove_left(prefix: str, talk: Callable[[str], None]) -> None:
    """Folders of that prefix that hold the data of a broker, and that neither a bench nor a broker holds any more: the
    kernel takes a lock back however its process ends. Of others' folders, of new ones that hold nothing yet, and of
    logs that an error has named nothing is touched."""
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{prefix}-*")):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not DataDir(folder).lock.is_file():
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not DataDir(folder).is_held():
                    shutil.rmtree(folder)
                    talk(f"removed {folder}: the bench that had its Kafka there was killed")
            finally:
                os.close(descriptor)
