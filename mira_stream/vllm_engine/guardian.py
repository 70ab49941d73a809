"""Ends vLLM's child processes when the process that started them is gone, however it went.

Killed with SIGKILL, a process leaves its engine cores and workers behind: they wait for requests for ever. So the
first start of an engine also starts this file as a small process that watches its parent. What to end it finds by a
mark in the environment, which all children carry from the moment they are spawned. Then it removes the folder of their
sockets. Standard library only.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

MARK: Final = "MIRA_ENGINES_OF"
KEEP_ENVIRONMENT: Final = "SPT_NOENV"
"""Tells setproctitle, by which vLLM names its processes, not to write over what /proc shows of their environment."""
WATCH_S: Final = 0.2
SWEEPS: Final = 100

_guardians: Final[dict[int, "subprocess.Popen[bytes]"]] = {}
_folders: Final[dict[int, Path]] = {}


def guard() -> None:
    """Watch over this process from now on; does nothing if that is done already. Marks the environment, and gives the
    engines a folder of their own for their sockets. Raises DependencyError where none can be made."""
    from mira_stream.vllm_engine.sockets import own_folder  # run by itself, this file has no package around it

    watching = _guardians.get(os.getpid())
    if watching is not None and watching.poll() is None:
        return
    mark = f"{os.getpid()}.{time.monotonic_ns()}" if watching is None else os.environ[MARK]
    os.environ.pop(MARK, None)
    if os.getpid() not in _folders:
        _folders[os.getpid()] = own_folder()
    _guardians[os.getpid()] = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, mark, str(_folders[os.getpid()])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a signal to the terminal's process group must not end it first
    )
    os.environ[MARK] = mark
    os.environ[KEEP_ENVIRONMENT] = "1"


def marked(mark: str) -> list[int]:
    """Process ids that carry the mark. Python's resource tracker is left out: it cleans up and ends by itself."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if f"{MARK}={mark}".encode() not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command, state = (folder / "cmdline").read_bytes(), (folder / "stat").read_bytes().rpartition(b") ")[2]
        except OSError:
            continue
        if b"resource_tracker" not in command and not state.startswith((b"Z", b"X")):
            found.append(int(folder.name))
    return found


def end(mark: str) -> None:
    """SIGKILL until none is left; a process that was just being spawned is found by the next sweep."""
    empty_sweeps = 0
    for _ in range(SWEEPS):
        found = marked(mark)
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        empty_sweeps = 0 if found else empty_sweeps + 1
        if empty_sweeps == 2:
            return
        time.sleep(WATCH_S)


def main() -> None:
    """`guardian.py MARK FOLDER`; the mark begins with the process id to watch."""
    mark, folder = sys.argv[1:]
    parent = int(mark.split(".")[0])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    end(mark)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
