"""A folder of its own for the sockets of a process's engines: vLLM leaves them behind, even where it is stopped.

It is locked while the process lives. Whoever watches over the process removes it (guardian.py); where both were
killed, the next process that starts an engine does.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from mira_stream.errors import DependencyError

BASE: Final = "VLLM_RPC_BASE_PATH"
PREFIX: Final = "mira-vllm-"
LONGEST: Final = 107 - len("/01234567-89ab-cdef-0123-456789abcdef")
"""Bytes of a folder's path, so that the kernel takes the path of a socket in it."""
FALLBACK: Final = "/tmp"

_locks: Final[list[int]] = []
"""Open as long as this process lives."""


def own_folder() -> Path:
    """A new one, where vLLM finds it, and none left of processes that were killed. Raises DependencyError."""
    base = ""
    try:
        base = _base()
        remove_left(Path(base))
        folder = _locked(base)
    except OSError as error:
        raise DependencyError(
            "engine_start",
            f"no folder for the engine's sockets can be made{base and f' in {base}'}: {error}",
            f"set TMPDIR or {BASE} to a folder that can be written",
        ) from None
    os.environ[BASE] = str(folder)
    return folder


def remove_left(base: Path) -> None:
    """Those whose process is gone, however it went: the kernel takes its lock back."""
    for folder in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def _base() -> str:
    said = os.environ.get(BASE)
    if said is not None and Path(said).name.startswith(PREFIX):  # of the process that started this one
        said = str(Path(said).parent)
    base = os.path.abspath(said or tempfile.gettempdir())
    room = LONGEST - len(os.fsencode(f"/{PREFIX}12345678"))
    return base if len(os.fsencode(base)) <= room else FALLBACK


def _locked(base: str) -> Path:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():  # no other start took it for one that was left, before it was locked
            _locks.append(descriptor)
            return folder
        os.close(descriptor)
