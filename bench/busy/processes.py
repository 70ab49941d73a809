"""Whose CPU time a turn takes, and cores that an engine has for itself."""

import os
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from mira_stream.benching.machine import descendants
from mira_stream.errors import UsageError

LLM_CORE, ASYNC_CORE, KAFKA = "LLM's", "AsyncLLM's", "Kafka's"
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
USER, SYSTEM = 11, 12
"""Places in stat of proc(5), counted from behind the name's bracket."""


class Cpu(NamedTuple):
    """CPU seconds of this process, of the engine's processes and of Kafka's; and `waited`, seconds in which
    processes of the engine were ready and had no core, because of others or of one another."""

    here: float
    engine: float = 0.0
    broker: float = 0.0
    waited: float = 0.0

    def since(self, before: "Cpu") -> "Cpu":
        return Cpu(*(now - then for now, then in zip(self, before, strict=True)))


Reading = Callable[[], Cpu]


def here() -> Cpu:
    return Cpu(time.process_time())


class Processes:
    """This process's children, named as they come: what is there when a name is given, and was not before, is its."""

    def __init__(self) -> None:
        self._named: dict[str, list[int]] = {}

    def name(self, name: str) -> None:
        known = {os.getpid(), *(pid for pids in self._named.values() for pid in pids)}
        self._named[name] = [pid for pid in descendants([os.getpid()]) if pid not in known]

    def reading(self, engine: str) -> Reading:
        """What this process, that engine and Kafka have taken; a name that was not given counts as no process."""
        engines, brokers = self._named.get(engine, []), self._named.get(KAFKA, [])
        return lambda: Cpu(here().here, cpu_s(engines), cpu_s(brokers), waited_s(engines))

    def bind_apart(self) -> None:
        """The engines to the cores that vLLM has bound their workers to, this process and what it starts from now on to
        the others. Raises UsageError(apart) where that leaves none."""
        engines = [*self._named[LLM_CORE], *self._named[ASYNC_CORE]]
        computing = {core for pid in filter(is_worker, engines) for core in affinity(pid)}
        free = os.sched_getaffinity(0) - computing
        if not computing or not free:
            raise UsageError(
                "apart", f"vLLM has bound its workers to cores {sorted(computing)}: none is theirs alone",
                "leave --apart out; it is for engines without a GPU on two cores or more",
            )  # fmt: skip
        bind(engines, computing)
        bind([os.getpid()], free)


def is_worker(pid: int) -> bool:
    return text(pid, "comm").startswith("VLLM::Worker")


def cpu_s(pids: Iterable[int]) -> float:
    """What the processes have taken until now, user and system, in steps of 10 ms: nothing where one has ended."""
    ticks = 0
    for pid in pids:
        if fields := text(pid, "stat").rpartition(")")[2].split():
            ticks += int(fields[USER]) + int(fields[SYSTEM])
    return ticks / TICKS_A_SECOND


def waited_s(pids: Iterable[int]) -> float:
    """How long the processes' first threads were ready and not running until now (schedstat of the kernel)."""
    return sum(int(fields[1]) / 1e9 for pid in pids if (fields := text(pid, "schedstat").split()))


def text(pid: int, file: str) -> str:
    """Empty where the process has ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return ""


def affinity(pid: int) -> set[int]:
    """Of all of its threads together."""
    threads = (int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir())
    return {core for thread in threads for core in os.sched_getaffinity(thread)}


def bind(pids: Iterable[int], cores: Collection[int]) -> None:
    """All threads of the processes, and those they start from now on."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # ended meanwhile
                os.sched_setaffinity(int(thread.name), cores)
