"""Ends every process of one run, also when the one that started them was killed. Standard library only.

Each process of a run carries the run's mark in its environment, children of children included (the broker's JVM,
vLLM's engine cores). The supervisor starts this file as a process of its own with a pipe as standard input; the pipe
ends with the supervisor, however that came about, and the guard ends what is left.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

MARK = "MIRA_RUN"
KILLED_S = 30.0
"""Who still lives so long after a SIGKILL cannot be killed: it waits in the kernel."""
LOOK_S = 0.05
EMPTY_LOOKS = 3
"""One look does not tell: a process that is just being started shows no environment for a moment."""
LIFE = "MIRA_LIFE"
"""The same of one life of one service, for whoever starts it again: nothing of the old one may be left."""


def marked(value: str, mark: str = MARK) -> list[int]:
    """Process ids of the run (or life) that are still alive, this process left out."""
    needle = f"{mark}={value}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            variables = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            state = Path(f"/proc/{entry}/stat").read_bytes().rsplit(b")", 1)[1].split()[0]
        except (OSError, IndexError):
            continue
        if needle in variables and state not in (b"Z", b"X"):
            found.append(int(entry))
    return found


def stop_all(run: str, term_s: float, pause: Callable[[float], None] = time.sleep) -> list[int]:
    """TERM, then after `term_s` KILL, until EMPTY_LOOKS looks in a row find no process of the run, or it cannot be
    killed. All that were found."""
    found: list[int] = []
    waited, empty_looks = 0.0, 0
    while empty_looks < EMPTY_LOOKS and waited < term_s + KILLED_S:
        if found or empty_looks:
            pause(LOOK_S)
            waited += LOOK_S
        left = marked(run)
        new = [process for process in left if process not in found]
        found += new
        if waited >= term_s:
            _signal(left, signal.SIGKILL)
        else:
            _signal(new, signal.SIGTERM)
        empty_looks = 0 if left else empty_looks + 1
    return found


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


def main() -> None:
    """Wait for the end of standard input, then end the run named by the first argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    stop_all(sys.argv[1], term_s=5.0)


if __name__ == "__main__":
    main()
