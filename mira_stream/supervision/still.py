"""The end of a service that stands still: it is asked where it stands, killed, and told if it cannot be killed."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from mira_stream.streaming.service import STACK_SIGNAL
from mira_stream.supervision.guard import KILLED_S
from mira_stream.supervision.pulse import EVERY_S
from mira_stream.supervision.supervisor import Child

STACK_S: Final = 2.0
"""So long it has to write its stack before it is killed."""
STACK_BEGINS: Final = b"most recent call first"
STATES: Final = {
    "D": "it waits in the kernel (state D: a disk, NFS, a GPU's driver)",
    "T": "it is stopped (state T: SIGSTOP)",
    "t": "it is stopped (state t: a debugger, py-spy)",
}


class Still:
    """1. Made when it is found: writes down its state, and asks for its stack. 2. `look` now and then: kills it when
    the stack's time is over. 3. `why` it was killed."""

    def __init__(self, child: Child, missed: int, now_s: float) -> None:
        self.state = state_of(child.process.pid)
        self._found = f"it stood still: /livez failed {missed} times in a row, {missed * EVERY_S:.0f} s"
        self._child = child
        self._asked_s = now_s
        self._killed_s: float | None = None
        self._log_was = self._log_bytes()
        with suppress(ProcessLookupError):
            child.process.send_signal(STACK_SIGNAL)  # itself alone: what it started knows nothing of this signal

    def look(self, now_s: float) -> bool:
        """Whether it is known by now that it cannot be killed."""
        if self._killed_s is not None:
            return now_s - self._killed_s >= KILLED_S
        if now_s - self._asked_s >= STACK_S:
            self._killed_s = now_s
            self._child.kill()
        return False

    @property
    def why(self) -> str:
        has_stack = STACK_BEGINS in self._said()
        where = f"where, says the stack in {self._child.log}" if has_stack else f"it wrote no stack: {self._no_stack()}"
        return f"{self._found}; {where}; up --frozen-s N waits longer, 0 for ever"

    @property
    def why_it_stays(self) -> str:
        """The same of one that cannot be killed."""
        state = STATES.get(self.state, f"state {self.state or 'unknown'}")
        return f"{self.why}; SIGKILL did not end it in {KILLED_S:.0f} s: {state}; mend that, or restart the machine"

    def _no_stack(self) -> str:
        return STATES.get(self.state, "it was still being loaded, or its log was taken away")

    def _log_bytes(self) -> int:
        try:
            return self._child.log.stat().st_size
        except OSError:
            return 0

    def _said(self) -> bytes:
        """What it wrote since it was found; nothing if its log was taken away."""
        try:
            with self._child.log.open("rb") as log:
                log.seek(self._log_was)
                return log.read()
        except OSError:
            return b""


def state_of(process: int) -> str:
    """The letter that `ps` shows: D if any of its threads waits in the kernel, which keeps the whole from ending;
    empty if it is gone."""
    letters = []
    for path in sorted(Path(f"/proc/{process}/task").glob("*/stat"), key=lambda path: int(path.parent.name)):
        with suppress(OSError, IndexError):
            letters.append(path.read_bytes().rsplit(b")", 1)[1].split()[0].decode())
    return "D" if "D" in letters else next(iter(letters), "")
