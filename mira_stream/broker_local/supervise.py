"""Runs the broker for a process that may die at any moment: when that process is gone, so is the broker.

Started as a script with nothing but the standard library. Standard input is a pipe from the process to live with:
its end is the order to stop, and a word on it the order to leave the broker to itself, which only one for the
background gets, once it has proved itself. The broker's pid goes to standard output. If this process is killed itself,
the kernel kills an attached broker (PR_SET_PDEATHSIG; safe here, because the only thread there is starts it).

    supervise.py attached|background PARENT_PID CONSOLE_LOG COMMAND...
"""

import ctypes
import os
import select
import signal
import subprocess
import sys

STOP_S = 10.0
SIGNALLED = 128
PR_SET_PDEATHSIG = 1


def main(kept: str, parent: int, console: str, command: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: os.close(0))
    with open(console, "ab") as log:
        broker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            close_fds=False,  # the lock on the data directory is held as long as the broker lives
            preexec_fn=_die_with_parent if kept == "attached" else None,
        )
    sys.stdout.write(f"{broker.pid}\n")
    sys.stdout.flush()
    return 0 if _is_let_go(parent, broker.pid) else stop(broker)


def stop(broker: "subprocess.Popen[bytes]") -> int:
    """TERM, then KILL after ten seconds; the exit status, 128 and the signal's number if a signal ended it."""
    broker.terminate()  # does nothing to one that has ended
    try:
        code = broker.wait(STOP_S)
    except subprocess.TimeoutExpired:
        broker.kill()
        code = broker.wait()
    return code if code >= 0 else SIGNALLED - code


def _is_let_go(parent: int, broker: int) -> bool:
    """Whether there comes a word; False when the pipe ends, the broker, or the parent (a fork of it may hold the pipe
    open)."""
    watched = [0, os.pidfd_open(broker)]
    try:
        watched.append(os.pidfd_open(parent))
        if os.getppid() == parent:
            return 0 in select.select(watched, [], [])[0] and bool(os.read(0, 64))
    except OSError:  # the parent is gone already, or SIGTERM closed standard input
        return False
    return False


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
