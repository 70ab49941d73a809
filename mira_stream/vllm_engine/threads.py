"""How many CPU threads an engine computes with. vLLM reads it from the environment, so that it is a process's."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from mira_stream.config import Project

BIND: Final = "VLLM_CPU_OMP_THREADS_BIND"
THREADS: Final = "OMP_NUM_THREADS"

_first: Final[dict[str, str | None]] = {name: os.environ.get(name) for name in (BIND, THREADS)}
"""What the environment said at the start: what an engine's start puts there is not its user's."""


def sharing_cores(project: Project, groups: Sequence[str], cores: int = 0) -> Project:
    """The project for a process that serves `groups`: where [limits] engine_threads is 0, each of several engines gets
    its part of `cores` (0: those the process may use, hyper-threads of one core counted once), and at least one
    thread. Left to itself vLLM binds the threads of every engine to the same cores, all but the machine's last: on two
    cores all engines compute on the first. What the environment says of binding, or of threads, counts more. Engines
    of other processes are not known here: where several share a machine, engine_threads says how many each has."""
    engines = sum(project.settings.groups[group].engine == "vllm" for group in groups)
    limits = project.settings.limits
    if limits.engine_threads or engines < 2 or _first.get(BIND) is not None:
        return project
    said = _first.get(THREADS) or ""
    threads = int(said) if said.isdecimal() else (cores or physical_cores()) // engines
    limits = replace(limits, engine_threads=max(1, threads))
    return replace(project, settings=replace(project.settings, limits=limits))


def physical_cores() -> int:
    """Those the process may use; each processor one where the kernel does not say which of them share a core."""
    return len({_siblings(cpu) for cpu in os.sched_getaffinity(0)})


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def set_threads(threads: int) -> None:
    """Of the engines started from now on: `threads`, bound to no core; 0: what the environment said at first, else
    vLLM's choice. All engines of one process have one number."""
    for name, value in ((BIND, "nobind"), (THREADS, str(threads))):
        first = _first.get(name)
        if threads:
            os.environ[name] = value
        elif first is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = first
