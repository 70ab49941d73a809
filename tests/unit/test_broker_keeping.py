"""The embedded broker under `up`: whatever keeps it from coming back is told, tried again, and bounded."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from mira_stream.broker_local import keeping, launch, recovery
from mira_stream.broker_local.data_dir import DataDir, Runtime
from mira_stream.broker_local.keeping import KeptBroker
from mira_stream.broker_local.launch import (
    BrokerProcess,
    check_runs,
    controller_properties,
    format_storage,
    how_it_ended,
    last_error,
    wait_until_listening,
    write_properties,
)
from mira_stream.errors import DependencyError, UsageError
from mira_stream.supervision.restarts import Patience

RUNTIME = Runtime(
    pid=7, pid_started=1, bootstrap_servers="127.0.0.1:9", port=9, since_ms=0, data_dir="d", log="l", kafka="k",
    java="j", kept="attached",
)  # fmt: skip


class Life:
    """A broker that dies at once; each next start does what `starts` says."""

    def __init__(self, *starts: Exception | None) -> None:
        self._starts = iter(starts)

    @asynccontextmanager
    async def living(self, *_: object, **__: object) -> AsyncIterator[tuple[Runtime, "Life"]]:
        if (error := next(self._starts)) is not None:
            raise error
        yield RUNTIME, self

    async def ended(self) -> str:
        return "signal SIGKILL"


def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *starts: Exception | None) -> KeptBroker:
    monkeypatch.setattr(keeping, "living", Life(*starts).living)
    return KeptBroker(tmp_path, Patience(deaths=4, first_s=0.0), lambda: 0.0, lambda: 55)


async def test_a_start_that_fails_in_whatever_way_counts_as_a_death_and_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = OSError(28, "No space left on device")
    slow = DependencyError("broker_slow", "Kafka does not listen", "read its log")
    broker = kept(monkeypatch, tmp_path, None, full, slow, full)
    said: list[str] = []
    broker._changed = lambda: said.append(f"{broker.kept.state} {broker.kept.restarts}: {broker.kept.why}")
    with pytest.raises(DependencyError, match=r"(?s)broker_died.*No space left.*4 deaths within"):
        await broker.run()
    assert said == [
        "waits 1: Kafka, pid 7, ended with signal SIGKILL",
        "waits 2: it could not be started again: OSError: [Errno 28] No space left on device",
        "waits 3: it could not be started again: Kafka does not listen",
        "given_up 3: it could not be started again: OSError: [Errno 28] No space left on device",
    ]
    assert broker.kept.died_ms == 55


async def test_what_no_start_mends_ends_it_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broker = kept(monkeypatch, tmp_path, None, UsageError("data_dir_foreign", "it holds letters", "name another"))
    with pytest.raises(UsageError, match="data_dir_foreign"):
        await broker.run()
    assert (broker.kept.state, broker.kept.restarts) == ("given_up", 1)
    assert "it holds letters" in broker.kept.why


async def test_the_first_start_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broker = kept(monkeypatch, tmp_path, OSError("no folder"))
    with pytest.raises(OSError, match="no folder"):
        await asyncio.wait_for(broker.run(), 60)
    assert broker.kept.restarts == 0


@pytest.mark.parametrize(
    ("status", "words"),
    [(137, "signal SIGKILL"), (143, "signal SIGTERM"), (-9, "signal SIGKILL"), (1, "exit code 1"), (3, "exit code 3")],
)
def test_how_the_jvm_ended(status: int, words: str) -> None:
    assert how_it_ended(status) == words


def log(data: DataDir, text: str) -> int:
    data.logs.mkdir(parents=True, exist_ok=True)
    with data.log_file.open("a") as file:
        file.write(text)
    return data.log_file.stat().st_size


def test_its_last_words_are_the_last_error_since_its_start_and_no_warning(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert last_error(data, 0) == ""
    begin = log(data, "2026-11-30T06:00:00,001 ERROR LogManager: of the life before\n")
    log(data, "2026-11-30T06:02:41,500 WARN  TransactionStateManager: Unloaded transaction metadata\n")
    assert last_error(data, begin) == "", "a warning explains nothing"
    data.console.write_text("Terminating due to java.lang.OutOfMemoryError: Java heap space\n")
    assert last_error(data, begin) == "Terminating due to java.lang.OutOfMemoryError: Java heap space"
    log(data, "2026-11-30T06:02:42,500 ERROR LogDirFailureChannel: Error while writing " + "x" * 900 + "\n  at a.b.c\n")
    log(data, "2026-11-30T06:02:43,000 WARN  Selector: later\n")
    said = last_error(data, begin)
    assert said.startswith("2026-11-30T06:02:42,500 ERROR LogDirFailureChannel")
    assert len(said) <= 300


def test_a_supervisor_tells_the_signal_that_ended_its_broker() -> None:
    from mira_stream.broker_local.supervise import stop

    died = subprocess.Popen(["sleep", "600"])
    died.send_signal(signal.SIGKILL)
    died.wait()
    assert how_it_ended(stop(died)) == "signal SIGKILL"


def test_a_controller_alone_is_stopped_only_when_its_decision_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the log first grows by may have been decided earlier; it is written in order."""
    data = DataDir(tmp_path)
    metadata = data.log / recovery.METADATA
    metadata.mkdir(parents=True)
    log = metadata / "0.log"
    log.write_bytes(b"1")
    sizes: list[int] = []

    def look() -> None:
        sizes.append(log.stat().st_size)
        if len(sizes) in (3, 5):
            log.write_bytes(log.read_bytes() + b"2")

    monkeypatch.setattr(recovery, "LOOK_S", 0.0)
    process = BrokerProcess(SimpleNamespace(poll=lambda: None), 7, 0)  # type: ignore[arg-type]
    recovery._until_written(process, data, look)
    assert sizes == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(("status", "code"), [(1, "broker_ended"), (None, "broker_slow")])
def test_a_controller_alone_that_writes_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None, code: str
) -> None:
    """It has said that it fences, and what it decided is not in its log: the new broker could not register."""
    data, stopped = DataDir(tmp_path), list[bool]()
    begin = log(data, f"{recovery.ACTIVE} and {recovery.FENCED} of the life before\n")

    def spawn(*_: object, **__: object) -> SimpleNamespace:
        log(data, f"{recovery.ACTIVE}\n{recovery.FENCED}\n")
        ended = iter([None, None])  # it runs until both are said
        return SimpleNamespace(
            exit_status=lambda: next(ended, status), said_before=begin, kill=lambda: stopped.append(True)
        )

    monkeypatch.setattr(recovery, "controller_properties", lambda *_: None)
    monkeypatch.setattr(recovery, "spawn", spawn)
    monkeypatch.setattr(recovery, "WRITTEN_S", 0.0)
    with pytest.raises(DependencyError, match=code):
        recovery.expire_registration(tmp_path, [], data, 0, 1, lambda: None)
    assert stopped == [True]


@pytest.mark.parametrize(("status", "code"), [(1, "broker_ended"), (None, "broker_slow")])
def test_a_controller_alone_that_does_not_come_up_is_an_error_and_no_broker_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None, code: str
) -> None:
    data, stopped = DataDir(tmp_path), list[bool]()
    process = SimpleNamespace(exit_status=lambda: status, said_before=0, kill=lambda: stopped.append(True))
    monkeypatch.setattr(recovery, "controller_properties", lambda *_: None)
    monkeypatch.setattr(recovery, "spawn", lambda *_, **__: process)
    monkeypatch.setattr(recovery, "ACTIVE_S", 0.0)
    with pytest.raises(DependencyError, match=code):
        recovery.expire_registration(tmp_path, [], data, 0, 1, lambda: None)
    assert stopped == [True]


@pytest.mark.parametrize(("now", "quoted"), [("", "its JVM has written nothing"), ("loading\n", "loading")])
def test_a_start_that_takes_too_long_quotes_only_what_it_wrote_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: str, quoted: str
) -> None:
    """A starved JVM writes nothing: the last words of the life before would send a reader after another fault."""
    data = DataDir(tmp_path)
    begin = log(data, "WARN Connection to node 1 could not be established; BindException\n")
    log(data, now)
    process = BrokerProcess(SimpleNamespace(poll=lambda: None), 7, begin)  # type: ignore[arg-type]
    monkeypatch.setattr(launch, "START_S", 0.0)
    with pytest.raises(DependencyError, match=rf"broker_slow: .* after 0 s: {quoted} -> .*more CPU"):
        wait_until_listening(process, launch.free_port(), data, lambda: None)
    monkeypatch.setattr(recovery, "WRITTEN_S", 0.0)
    with pytest.raises(DependencyError, match=rf"broker_slow: .*: {quoted} -> "):
        recovery._until_written(process, data, lambda: None)
    dead = BrokerProcess(SimpleNamespace(poll=lambda: 1), 7, begin)  # type: ignore[arg-type]
    with pytest.raises(DependencyError, match="exit code 1"):  # no port was taken in this life
        check_runs(dead, data)


def test_a_format_that_takes_too_long_is_slow_and_no_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataDir(tmp_path)
    write_properties(data, 9092, 9093)
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexec sleep 60\n")
    java.chmod(0o755)
    monkeypatch.setattr(launch, "START_S", 0.05)
    with pytest.raises(DependencyError, match=r"broker_slow: .*format of .* did not end.*more CPU") as caught:
        format_storage(java, [], data)
    assert "-cp" not in str(caught.value)
    assert not data.formatted.exists()


def test_only_the_controller_alone_fences_soon(tmp_path: Path) -> None:
    """A broker that stood still must not be fenced by itself when it goes on (KAFKA-20734); one that ended must be."""
    data = DataDir(tmp_path)

    def timeouts() -> list[str]:
        lines = data.properties.read_text().splitlines()
        return [line.partition("=")[2] for line in lines if line.startswith("broker.session.timeout.ms=")]

    write_properties(data, 9092, 9093)
    (session_ms,) = timeouts()
    assert int(session_ms) >= 3_600_000
    controller_properties(data, 9093)
    assert timeouts() == ["200"]


@pytest.mark.parametrize("error", ["", "2026-11-30T06:02:42,500 ERROR LogDirFailureChannel: disk failed"])
def test_a_start_that_failed_says_how_it_ended_and_nothing_that_is_no_error(tmp_path: Path, error: str) -> None:
    data = DataDir(tmp_path)
    begin = log(data, "2026-11-30T06:00:00,001 ERROR LogManager: of the life before\n")
    log(data, f"{error}\n2026-11-30T06:02:41,500 INFO  Partition: UNCLEAN partition change\n")
    process = BrokerProcess(SimpleNamespace(poll=lambda: 137), 7, begin)  # type: ignore[arg-type]
    with pytest.raises(DependencyError) as ended:
        check_runs(process, data)
    assert ended.value.cause == "Kafka ended while it started, with signal SIGKILL" + (f": {error}" if error else "")
