"""The embedded Kafka for real: it starts, holds its folder, keeps its data, and never outlives its owner."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mira_stream.broker_local import EmbeddedBroker, Runtime, control, embedded, launch, status, stop
from mira_stream.broker_local.data_dir import DataDir, started_ticks
from mira_stream.errors import DependencyError
from mira_stream.kafka import KafkaBroker
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import TopicSpec
from tests.frozen import freeze

pytestmark = pytest.mark.broker

NEVER_UP = "from mira_stream.broker_local import launch; launch._listens = lambda port: False; "


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Formatted once; the tests of this module start and stop it in turn."""
    return tmp_path_factory.mktemp("größe 1") / "broker"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is short of its cores is not unhealthy."""
    monkeypatch.setattr(control, "PROVE_S", 60.0)


@pytest.fixture
def running(folder: Path) -> Iterator[Runtime]:
    broker = EmbeddedBroker(folder)
    yield broker.start()
    broker.stop()


async def _write(address: str, value: bytes) -> None:
    broker = KafkaBroker(BrokerSection(request_timeout_ms=60_000), address)
    await broker.create_topics([TopicSpec("kept", 1)], 1)
    producer = await broker.producer("writer")
    await producer.commit([Outgoing("kept", None, value, 0)], {}, None)
    await producer.close()
    await (await broker.producer("writer")).close()
    await broker.close()


async def _read(address: str) -> list[bytes | None]:
    broker = KafkaBroker(BrokerSection(request_timeout_ms=60_000), address)
    reader = await broker.reader()
    found = [record.value async for record in reader.read(TopicPartition("kept", 0), 0, 100)]
    await reader.close()
    await broker.close()
    return found


def _wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def test_status_and_log_of_a_running_broker(folder: Path, running: Runtime) -> None:
    found = status(folder)
    assert found.state == "healthy"
    assert found.broker == running
    assert started_ticks(running.pid) == running.pid_started
    log = Path(running.log).read_text()
    assert "Kafka Server started" in log
    assert len(log.splitlines()) < 60  # INFO at the root would be 1,500


def test_a_second_start_is_refused_and_the_first_is_unharmed(folder: Path, running: Runtime) -> None:
    with pytest.raises(DependencyError, match=f"data_dir_in_use.*{running.bootstrap_servers}, pid {running.pid}"):
        EmbeddedBroker(folder).start()
    assert status(folder).state == "healthy"


async def test_data_outlives_restarts_and_sigkill_and_the_port_stays_if_it_is_free(folder: Path) -> None:
    async with embedded(folder) as first:
        await _write(first, b"one")
    assert status(folder).state == "stopped"
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(first.rpartition(":")[2])))
        other.listen()
        async with embedded(folder) as elsewhere:
            assert elsewhere != first
    async with embedded(folder) as second:
        assert second == elsewhere
        assert await _read(second) == [b"one"]
        runtime = DataDir(folder).read_runtime()
        assert runtime is not None
        await _write(second, b"two")
        os.kill(runtime.pid, signal.SIGKILL)
    async with embedded(folder) as third:
        assert await _read(third) == [b"one", b"two"]
        # its dead registration was let expire before it started (broker_local/recovery.py)
        assert "Fencing broker 1" in DataDir(folder).log_file.read_text()


def test_an_attached_broker_dies_with_its_owner(folder: Path) -> None:
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from mira_stream.broker_local import EmbeddedBroker
        print(EmbeddedBroker(Path({str(folder)!r})).start().pid, flush=True)
        input()
        """
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert status(folder).state == "healthy"
    owner.kill()
    owner.communicate()
    _wait_for(lambda: started_ticks(pid) is None)
    _wait_for(lambda: not DataDir(folder).is_held())


def test_a_broker_dies_with_its_supervisor(folder: Path) -> None:
    broker = EmbeddedBroker(folder)
    runtime = broker.start()
    parent = int(Path(f"/proc/{runtime.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    _wait_for(lambda: started_ticks(runtime.pid) is None)
    broker.stop()
    _wait_for(lambda: status(folder).state == "stopped")


def test_in_the_background_until_stopped(folder: Path) -> None:
    runtime = EmbeddedBroker(folder, attached=False).start()
    assert status(folder).state == "healthy"
    assert stop(folder) is True
    assert status(folder).state == "stopped"
    assert stop(folder) is False
    _wait_for(lambda: started_ticks(runtime.pid) is None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["console", "log"])
def test_a_start_in_the_background_that_is_interrupted_leaves_no_process(
    folder: Path, number: signal.Signals, moment: str
) -> None:
    """As Kafka is spawned, and when it has written its first line; it is never seen to listen, so that no start is over
    before it is interrupted."""
    data, where = DataDir(folder), ["--data-dir", str(folder)]
    place = data.console if moment == "console" else data.log_file
    data.console.unlink(missing_ok=True)
    data.log_file.unlink(missing_ok=True)
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's & turns it off
    start = f"from mira_stream.cli.main import main; raise SystemExit(main(['broker', 'start', *{where!r}]))"
    starting = subprocess.Popen([sys.executable, "-c", heard + NEVER_UP + start], stderr=subprocess.DEVNULL)
    _wait_for(place.exists)
    assert starting.poll() is None
    assert data.is_held()
    starting.send_signal(number)
    assert starting.wait(120) != 0
    _wait_for(lambda: not data.is_held())
    _wait_for(lambda: data.left_behind() == [])
    assert status(folder).state == "stopped"


def test_what_was_left_behind_without_a_word_of_it_is_named_and_stopped(folder: Path) -> None:
    """As it was after a start that was killed together with its supervisor."""
    runtime = EmbeddedBroker(folder, attached=False).start()
    data = DataDir(folder)
    data.runtime.unlink()
    with pytest.raises(DependencyError, match=f"data_dir_in_use.*left behind, pid {runtime.pid}.*broker stop"):
        EmbeddedBroker(folder).start()
    assert stop(folder) is True
    _wait_for(lambda: started_ticks(runtime.pid) is None)


def test_a_start_is_not_stopped_but_named(folder: Path) -> None:
    data = DataDir(folder)
    lock = data.acquire()
    try:
        with pytest.raises(DependencyError, match=f"broker_starting.*pid {os.getpid()}"):
            stop(folder)
    finally:
        os.close(lock)


def test_a_broker_that_does_not_answer_is_unhealthy_and_is_killed(
    folder: Path, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "PROVE_S", 0.5)
    monkeypatch.setattr(control, "STOP_S", 0.5)
    freeze(running.pid)
    found = status(folder)
    assert found.state == "unhealthy"
    assert found.problem is not None
    assert stop(folder) is True
    _wait_for(lambda: started_ticks(running.pid) is None)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancelled_start_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    monkeypatch.setattr(launch, "_listens", lambda port: False)  # else it may be over before it is cancelled

    async def use() -> None:
        async with embedded(folder):
            raise AssertionError("it was cancelled before")

    data = DataDir(folder)
    data.console.unlink(missing_ok=True)
    starting = asyncio.create_task(use())
    while not data.console.exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)
    for _ in range(times):
        starting.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not data.is_held()
    assert data.read_runtime() is None


def test_kafkas_own_words_when_it_cannot_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "HEAP", ("-Xmx256m", "-XX:NoSuchOption"))
    with pytest.raises(DependencyError, match=r"broker_(ended|not_formatted).*NoSuchOption"):
        EmbeddedBroker(folder).start()
    assert not DataDir(folder).is_held()
