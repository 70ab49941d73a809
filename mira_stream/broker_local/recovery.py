"""Before a broker starts again: let its old registration expire.

A broker that has ended is still registered when it starts again (it gives nothing back on SIGTERM either: a controlled
shutdown takes all leaders away while its coordinator works on). Its transaction coordinator then takes up what was
being committed, and the moment the old registration expires all partitions are without leader: Kafka 4.1 to 4.3 takes
them for deleted and ends those transactions without markers (KAFKA-20734), so that the next commit of the same
transactional id also commits what should have been aborted. So the controller runs alone first, until it has fenced
the dead broker: then nothing has a leader, and no coordinator works, until the new one is registered.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from mira_stream.broker_local.data_dir import DataDir
from mira_stream.broker_local.launch import (
    MORE_CPU,
    BrokerProcess,
    check_runs,
    controller_properties,
    said_since,
    spawn,
    tail,
)
from mira_stream.errors import DependencyError

METADATA: Final = "__cluster_metadata-0"
ACTIVE: Final = "Performing controller activation"
FENCED: Final = "Fencing broker"
ACTIVE_S: Final = 120.0
FENCED_S: Final = 10.0
"""Fifty times the session timeout of that run; one that was fenced already is not fenced again."""
WRITTEN_S: Final = 120.0
LOOK_S: Final = 0.05


def has_run(data: DataDir) -> bool:
    """Whether a broker has run here: it is registered still, however it ended."""
    return (data.log / METADATA).exists()


def expire_registration(
    java: Path, jars: Sequence[Path], data: DataDir, lock: int, controller_port: int, check: Callable[[], None]
) -> None:
    """Returns when the controller has fenced the dead broker; `check` is called now and then and may raise. Raises
    PortTaken, or DependencyError if the controller does not come up, or does not write what it decided: without that
    the new broker could not register."""
    controller_properties(data, controller_port)
    process = spawn(java, jars, data, lock, attached=True, extra=("-Dmira.controller.level=info",))
    try:
        if not _until(ACTIVE, process, data, ACTIVE_S, check):
            raise _slow(process, data, f"was not active after {ACTIVE_S:.0f} s")
        if _until(FENCED, process, data, FENCED_S, check):
            _until_written(process, data, check)
    finally:
        process.kill()  # what it decided is in its log, which is recovered however it ends; an orderly end takes longer


def _until_written(process: BrokerProcess, data: DataDir, check: Callable[[], None]) -> None:
    """Returns when what the controller has decided by now is in its log. It says so before it writes: a controller that
    was stopped in between had decided nothing, and the new broker could not register. The log is written in order and
    grows all the time (a record of no meaning every launch.IDLE_MS); what it first grows by may have been decided
    before."""
    deadline, grown, size = time.monotonic() + WRITTEN_S, 0, _size(data)
    while grown < 2:
        if time.monotonic() >= deadline or process.exit_status() is not None:
            raise _slow(process, data, f"wrote nothing in {WRITTEN_S:.0f} s")
        check()
        time.sleep(LOOK_S)
        if (now := _size(data)) != size:
            grown, size = grown + 1, now


def _slow(process: BrokerProcess, data: DataDir, said: str) -> DependencyError:
    """Raises instead what it ended of, if it has."""
    check_runs(process, data)
    return DependencyError(
        "broker_slow",
        f"Kafka's controller alone {said}: {tail(data, 1, process.said_before)}",
        f"{MORE_CPU}; it writes to {data.log_file}",
    )


def _size(data: DataDir) -> int:
    return sum(path.stat().st_size for path in (data.log / METADATA).glob("*.log"))


def _until(words: str, process: BrokerProcess, data: DataDir, patience_s: float, check: Callable[[], None]) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and process.exit_status() is None:
        if words in said_since(data, process.said_before):
            return True
        check()
        time.sleep(LOOK_S)
    return False
