"""The broker's data directory: who holds it, what runs in it, whether it is one.

lock            held (flock) by the broker itself as long as it lives, and by who starts it until then
cluster-id      makes a folder a data directory; written before anything else
formatted       Kafka's own format is done
runtime.json    the running broker: pid, address, since (mode 0600)
log/ logs/      Kafka's data; its log for people
"""

import base64
import contextlib
import fcntl
import os
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Final, Literal

import msgspec

from mira_stream.errors import DependencyError, UsageError

FREE_BYTES_MIN: Final = 512 * 2**20
LOCK_ATTEMPTS: Final = 5
MAIN_CLASS: Final = "kafka.Kafka"
_LISTENS: Final = re.compile(r"^listeners=BROKER://[\d.]+:(\d+)", re.MULTILINE)
_OURS: Final = {"lock", "cluster-id", "formatted", "runtime.json", "server.properties", "log", "logs"}


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """A running broker, as runtime.json says it."""

    pid: int
    pid_started: int
    bootstrap_servers: str
    port: int
    since_ms: int
    data_dir: str
    log: str
    kafka: str
    java: str
    kept: Literal["attached", "background"]


class DataDir:
    """Paths and files of one data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.lock = self.root / "lock"
        self.cluster_id = self.root / "cluster-id"
        self.formatted = self.root / "formatted"
        self.runtime = self.root / "runtime.json"
        self.properties = self.root / "server.properties"
        self.log = self.root / "log"
        self.logs = self.root / "logs"
        self.log_file = self.logs / "kafka.log"
        self.console = self.logs / "console.log"

    def prepare(self) -> None:
        """Make the folder, or accept it. Raises UsageError for a foreign one, DependencyError if it cannot be."""
        if "," in str(self.root):
            raise UsageError("data_dir_name", f"{self.root} contains a comma", "choose another data directory")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            strangers = sorted(path.name for path in self.root.iterdir() if path.name not in _OURS)
        except OSError as error:
            raise DependencyError(
                "data_dir_unusable", f"{self.root}: {error}", "choose another data directory"
            ) from error
        if strangers and not self.cluster_id.exists():
            raise UsageError(
                "data_dir_foreign",
                f"{self.root} holds {strangers[0]} and is not a broker's data directory",
                "name an empty or a new folder",
            )

    def check_free_space(self) -> None:
        free = shutil.disk_usage(self.root).free
        if free < FREE_BYTES_MIN:
            raise DependencyError(
                "disk_full",
                f"{free / 2**20:.0f} MiB are free at {self.root}; to start, {FREE_BYTES_MIN // 2**20} MiB are needed",
                "free disk space or choose another data directory",
            )

    def acquire(self) -> int:
        """Take the lock; its file descriptor. Raises DependencyError naming the holder, at once."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for attempt in reversed(range(LOCK_ATTEMPTS)):  # `is_held` of another process may hold it for a moment
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not attempt:
                    os.close(descriptor)
                    raise self._held() from None
                time.sleep(0.03)
        self.forget_runtime()
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor

    @property
    def last_port(self) -> int | None:
        """Where the broker of the last start listened; None if there was none, or it did not come so far."""
        try:
            found = _LISTENS.search(self.properties.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError):
            return None
        return int(found[1]) if found else None

    def is_held(self) -> bool:
        """Whether a broker runs here (or is being started)."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def read_runtime(self) -> Runtime | None:
        try:
            return msgspec.json.decode(self.runtime.read_bytes(), type=Runtime)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_runtime(self, runtime: Runtime) -> None:
        self._write(self.runtime, msgspec.json.encode(runtime))

    def forget_runtime(self, pid: int | None = None) -> None:
        """With `pid` only if that broker wrote it: another may run here by now."""
        runtime = self.read_runtime()
        if pid is None or runtime is None or runtime.pid == pid:
            self.runtime.unlink(missing_ok=True)

    def take_cluster_id(self) -> str:
        """The id of this cluster; made once."""
        with contextlib.suppress(FileNotFoundError):
            return self.cluster_id.read_text()
        made = "-"
        while made.startswith("-"):  # Kafka's tool would take it for an option
            made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._write(self.cluster_id, made.encode())
        return made

    def mark_formatted(self, version: str) -> None:
        self._write(self.formatted, version.encode())

    def starter(self) -> int | None:
        """The process that is starting a broker here; None if it has ended: what holds the folder was left behind."""
        text = self.lock.read_text()
        if not text.isdecimal():
            return None
        with contextlib.suppress(OSError):
            if any(path.readlink() == self.lock for path in Path(f"/proc/{text}/fd").iterdir()):
                return int(text)
        return None

    def left_behind(self) -> list[int]:
        """Processes that run this folder's broker, their supervisor included, by their command lines."""
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0") if entry.isdecimal() else []
                if MAIN_CLASS.encode() in words and os.fsencode(self.properties) in words:
                    found.append(int(entry))
        return found

    def _held(self) -> DependencyError:
        runtime, starter = self.read_runtime(), self.starter()
        if runtime is not None:
            holder = f"a broker at {runtime.bootstrap_servers}, pid {runtime.pid}"
        elif starter is not None:
            holder = f"a broker that pid {starter} is starting"
        else:
            holder = f"what a start left behind, pid {' '.join(map(str, self.left_behind())) or 'unknown'}"
        return DependencyError(
            "data_dir_in_use",
            f"{self.root} is held by {holder}",
            f"use it (--bootstrap-servers), stop it (mira-stream broker stop --data-dir {self.root}),"
            " or choose another data directory",
        )

    def _write(self, path: Path, content: bytes) -> None:
        """0600, whole or not at all."""
        new = path.with_name(f"{path.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(new, path)


def started_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is no such process (or only its remains).
    A pid together with this names a process for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) if fields[0] != "Z" else None
