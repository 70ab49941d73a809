"""Starts one Java process: command lines, ports, formatting, waiting until it listens."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from string import Template
from typing import IO, Final

from mira_stream.broker_local.data_dir import MAIN_CLASS, DataDir
from mira_stream.broker_local.jars import KAFKA_VERSION
from mira_stream.broker_local.supervise import SIGNALLED
from mira_stream.errors import DependencyError

HEAP: Final = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
START_S: Final = 120.0
STOP_S: Final = 10.0
LOOK_S: Final = 0.05
IDLE_MS: Final = 100
"""While the controller runs alone its log grows as often (recovery.py)."""
MORE_CPU: Final = "give it more CPU (stop what else runs, or wait) and start it again"
LINE_CHARACTERS_MAX: Final = 300
JVM_LINES: Final = 3
SAYS_ERROR: Final = re.compile(r"\S+ (ERROR|FATAL) ")
"""Begins a line of log4j2.properties' pattern."""


class PortTaken(Exception):
    """Somebody else took a port between our choosing it and Kafka's binding it."""


class BrokerProcess:
    """The JVM under its supervisor. `said_before`: bytes of Kafka's log that were there when it started."""

    def __init__(self, child: subprocess.Popen[bytes], pid: int, said_before: int) -> None:
        self._child = child
        self.pid = pid
        self.said_before = said_before

    def exit_status(self) -> int | None:
        """None while it runs; 128 and more: the signal that ended it."""
        return self._child.poll()

    def stop(self) -> None:
        """TERM, KILL after ten seconds; returns when it is gone."""
        self._end_supervisor()  # the end of the pipe is its order to stop the broker

    def kill(self) -> None:
        """KILL; returns when it is gone."""
        if self.exit_status() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def leave(self) -> None:
        """Let it run on by itself, whatever becomes of this process."""
        assert self._child.stdin is not None
        self._child.stdin.write(b"leave")
        self._end_supervisor()

    def _end_supervisor(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._child.stdin.close()
        try:
            self._child.wait(STOP_S + 5.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(port: int) -> None:
    """Raises DependencyError if somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DependencyError(
                "port_in_use", f"port {port} of 127.0.0.1: {error.strerror}", "choose another --port, or leave it out"
            ) from error


def write_properties(data: DataDir, port: int, controller_port: int) -> None:
    template = Template(files("mira_stream.broker_local").joinpath("server.properties").read_text())
    text = template.substitute(port=port, controller_port=controller_port, log_dirs=_escaped(str(data.log)))
    data.properties.write_text(text, encoding="ascii")


def controller_properties(data: DataDir, controller_port: int) -> None:
    """The same node as its own controller and nothing else."""
    write_properties(data, controller_port, controller_port)
    left_out = ("listeners=", "advertised.listeners=", "inter.broker.listener.name=", "process.roles=")
    lines = [line for line in data.properties.read_text(encoding="ascii").splitlines() if not line.startswith(left_out)]
    lines += ["process.roles=controller", f"listeners=CONTROLLER://127.0.0.1:{controller_port}"]
    lines = [line for line in lines if not line.startswith(("broker.session.timeout.ms=", "broker.heartbeat.interval"))]
    lines += ["broker.session.timeout.ms=200", "broker.heartbeat.interval.ms=50"]  # nobody beats: it need not be long
    lines += [f"metadata.max.idle.interval.ms={IDLE_MS}"]
    data.properties.write_text("\n".join(lines) + "\n", encoding="ascii")


def format_storage(java: Path, jars: Sequence[Path], data: DataDir) -> None:
    """Kafka's own format; once in the life of a data directory."""
    if data.formatted.exists():
        return
    arguments = ["format", "-t", data.take_cluster_id(), "-c", str(data.properties), "--ignore-formatted"]
    command = [str(java), *HEAP, "-cp", _class_path(jars), "kafka.tools.StorageTool", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise DependencyError(
            "broker_slow",
            f"Kafka's format of {data.root} did not end within {START_S:.0f} s",
            MORE_CPU,
        ) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DependencyError(
            "broker_not_formatted",
            f"{data.root}: {' | '.join(said[-JVM_LINES:]) if said else f'exit status {done.returncode}'}",
            "check free space and permissions of the data directory, or choose another",
        )
    data.mark_formatted(KAFKA_VERSION)


def spawn(
    java: Path, jars: Sequence[Path], data: DataDir, lock: int, *, attached: bool, extra: Sequence[str] = ()
) -> BrokerProcess:
    """Start Kafka. It dies with this process; one that is not `attached` until it is left to itself. `extra`: for the
    JVM."""
    with as_file(files("mira_stream.broker_local").joinpath("log4j2.properties")) as log_settings:
        command = [
            str(java),
            *HEAP,
            f"-Dmira.logs={data.logs}",
            *extra,
            f"-Dlog4j2.configurationFile={log_settings.as_uri()}",
            "-cp",
            _class_path(jars),
            MAIN_CLASS,
            str(data.properties),
        ]
    data.console.unlink(missing_ok=True)
    return _spawn_supervised("attached" if attached else "background", command, data, lock)


def wait_until_listening(process: BrokerProcess, port: int, data: DataDir, check: Callable[[], None]) -> None:
    """Raises what `check_runs` raises, or DependencyError with the log's last words if it takes too long; `check` is
    called now and then and may raise."""
    deadline = time.monotonic() + START_S
    while not _listens(port):
        check_runs(process, data)
        if time.monotonic() > deadline:
            raise DependencyError(
                "broker_slow",
                f"Kafka does not listen after {START_S:.0f} s: {tail(data, 3, process.said_before)}",
                f"{MORE_CPU}; it writes to {data.log_file}",
            )
        check()
        time.sleep(LOOK_S)


def check_runs(process: BrokerProcess, data: DataDir) -> None:
    """Raises PortTaken, or DependencyError with how it ended and the last error it wrote, if it has ended while it
    started."""
    if (status := process.exit_status()) is None:
        return
    said = tail(data, 200, process.said_before)
    if "BindException" in said or "Address already in use" in said:
        raise PortTaken
    how = how_it_ended(status)
    error = last_error(data, process.said_before)
    cause = f"{how}: {error}" if error else how
    raise DependencyError(
        "broker_ended", f"Kafka ended while it started, with {cause}", f"read {data.log_file} and {data.console}"
    )


def tail(data: DataDir, lines: int, begin: int) -> str:
    """The last lines of this life: of Kafka's log behind its first `begin` bytes, and of the console, which every start
    begins anew."""
    said = said_since(data, begin).splitlines()[-lines:]
    with contextlib.suppress(FileNotFoundError):
        said += data.console.read_text(errors="replace").splitlines()[-lines:]
    return " | ".join(line.strip() for line in said[-lines:]) or "its JVM has written nothing"


def said_since(data: DataDir, begin: int) -> str:
    """What Kafka's log says behind its first `begin` bytes; all of it, if it was rolled meanwhile."""
    if not data.log_file.exists():
        return ""
    with data.log_file.open("rb") as file:
        file.seek(begin if file.seek(0, os.SEEK_END) >= begin else 0)
        return file.read().decode(errors="replace")


def last_error(data: DataDir, begin: int) -> str:
    """The last line with which Kafka itself said that something was wrong (ERROR, FATAL), else the JVM's own last
    lines: it names an option that it does not know first; empty if it died without a word."""
    errors = [line for line in said_since(data, begin).splitlines() if SAYS_ERROR.match(line)]
    if errors:
        return errors[-1].strip()[:LINE_CHARACTERS_MAX]
    with contextlib.suppress(FileNotFoundError):
        errors = data.console.read_text(errors="replace").splitlines()[-JVM_LINES:]
    return " | ".join(line.strip() for line in errors)[:LINE_CHARACTERS_MAX]


def how_it_ended(status: int) -> str:
    """An exit status of `BrokerProcess` in words. A JVM that is told to end by a signal exits with it, too."""
    number = -status if status < 0 else status - SIGNALLED
    if number in set(signal.Signals):
        return f"signal {signal.Signals(number).name}"
    return f"exit code {status}"


def _spawn_supervised(kept: str, command: Sequence[str], data: DataDir, lock: int) -> BrokerProcess:
    script = files("mira_stream.broker_local").joinpath("supervise.py")
    said_before = data.log_file.stat().st_size if data.log_file.exists() else 0
    with as_file(script) as path:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(path), kept, str(os.getpid()), str(data.console), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C is for us; the broker is stopped last
        )
        assert child.stdout is not None
        return BrokerProcess(child, _read_pid(child.stdout), said_before)


def _read_pid(stream: IO[bytes]) -> int:
    line = stream.readline()
    if not line:
        raise DependencyError("broker_ended", "the broker's supervisor did not start it", "run it again")
    return int(line)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _class_path(jars: Sequence[Path]) -> str:
    return os.pathsep.join(str(jar) for jar in jars)


def _escaped(text: str) -> str:
    """As a value of a Java properties file, in ASCII."""
    units = text.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[index : index + 2], "big") for index in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)
