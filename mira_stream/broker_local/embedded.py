"""Apache Kafka of our own: one node, KRaft, its data in one folder."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from mira_stream.broker_local.data_dir import DataDir, Runtime, started_ticks
from mira_stream.broker_local.jars import KAFKA_VERSION, Talk, class_path, silent
from mira_stream.broker_local.java import find_java
from mira_stream.broker_local.launch import (
    BrokerProcess,
    PortTaken,
    check_port,
    format_storage,
    free_port,
    how_it_ended,
    last_error,
    spawn,
    wait_until_listening,
    write_properties,
)
from mira_stream.broker_local.readiness import prove
from mira_stream.broker_local.recovery import expire_registration, has_run
from mira_stream.cancellation import to_the_end
from mira_stream.clock import now_ms
from mira_stream.errors import DependencyError

ATTEMPTS: Final = 3
PROVE_S: Final = 60.0
LOOK_S: Final = 0.25


class StartCancelled(Exception):
    """Nobody waits for the start any more."""


@contextlib.asynccontextmanager
async def embedded(data_dir: Path, *, port: int | None = None, talk: Talk = silent) -> AsyncIterator[str]:
    """The broker's bootstrap servers, as long as the block lasts; raises what `EmbeddedBroker.start` raises."""
    async with living(data_dir, port=port, talk=talk) as (runtime, _):
        yield runtime.bootstrap_servers


@contextlib.asynccontextmanager
async def living(
    data_dir: Path, *, port: int | None = None, talk: Talk = silent
) -> AsyncIterator[tuple[Runtime, "EmbeddedBroker"]]:
    """The same, with the broker itself, which may end before the block does (`EmbeddedBroker.ended`). Behind the block
    it has ended, however often we are cancelled meanwhile: its folder is the caller's again."""
    broker = EmbeddedBroker(data_dir, port=port, talk=talk)
    starting = asyncio.create_task(asyncio.to_thread(broker.start))
    try:
        yield await asyncio.shield(starting), broker
    finally:
        broker.cancel_start()
        await to_the_end(_ended(starting, broker))


async def _ended(starting: "asyncio.Task[Runtime]", broker: "EmbeddedBroker") -> None:
    """A start that is given up has no broker to stop yet."""
    await asyncio.wait({starting})
    _ = starting.exception()  # raised already, or a cancelled start's
    await asyncio.to_thread(broker.stop)


class EmbeddedBroker:
    """Starts and stops the broker of one data directory; blocks (use `embedded` in async code).

    `attached`: the broker never outlives this process, even if that is killed. Otherwise it stays until
    `broker_local.control.stop`, from the moment `start` returns: a start that is killed leaves nothing behind either.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        attached: bool = True,
        environment: Mapping[str, str] | None = None,
        talk: Talk = silent,
    ) -> None:
        self._data = DataDir(data_dir)
        self._port = port
        self._attached = attached
        self._environment = os.environ if environment is None else environment
        self._say = talk
        self._process: BrokerProcess | None = None
        self._cancelled = threading.Event()

    def start(self) -> Runtime:
        """Returns when it has taken and given back a record. Leaves nothing behind when it fails.

        Raises UsageError or DependencyError: data directory in use or foreign, port in use, disk full, no Java, no
        jars, Kafka ended.
        """
        data = self._data
        data.prepare()
        lock = data.acquire()
        try:
            data.check_free_space()
            if self._port is not None:
                check_port(self._port)
            java = find_java(self._environment)
            jars = class_path(self._environment, self._talk)
            data.logs.mkdir(exist_ok=True)
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return self._launch(java.executable, jars, lock)
                except PortTaken:
                    self.stop()
                    if attempt == ATTEMPTS:
                        raise DependencyError(
                            "port_in_use", "every port tried was taken before Kafka bound it", "run it again"
                        ) from None
            raise AssertionError("unreachable")
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(lock)  # the broker holds it now

    def stop(self) -> None:
        """TERM, KILL after ten seconds. Does nothing if it does not run, or was left to itself."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
            self._data.forget_runtime(process.pid)

    async def ended(self) -> str:
        """When the broker that was started runs no more: with which exit code or by which signal, and the last error
        that it wrote, if it wrote one."""
        process = self._process
        assert process is not None
        while (status := process.exit_status()) is None:  # noqa: ASYNC110 - another process
            await asyncio.sleep(LOOK_S)
        error = last_error(self._data, process.said_before)
        return how_it_ended(status) + (f": {error}" if error else "")

    def cancel_start(self) -> None:
        """From another thread: make a running `start` give up."""
        self._cancelled.set()

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise StartCancelled

    def _talk(self, line: str) -> None:
        self._check()
        self._say(line)

    def _port_to_use(self) -> int:
        """The one that was asked for; else that of the last run, so that clients which outlive a broker find it again;
        else any."""
        if self._port is not None:
            return self._port
        before = self._data.last_port
        if before is not None:
            with contextlib.suppress(DependencyError):
                check_port(before)
                return before
        return free_port()

    def _launch(self, java: Path, jars: list[Path], lock: int) -> Runtime:
        data, port = self._data, self._port_to_use()
        if has_run(data):
            expire_registration(java, jars, data, lock, free_port(), self._check)
        write_properties(data, port, free_port())
        format_storage(java, jars, data)
        process = self._process = spawn(java, jars, data, lock, attached=self._attached)
        wait_until_listening(process, port, data, self._check)
        prove(f"127.0.0.1:{port}", PROVE_S)
        runtime = Runtime(
            pid=process.pid,
            pid_started=started_ticks(process.pid) or 0,
            bootstrap_servers=f"127.0.0.1:{port}",
            port=port,
            since_ms=now_ms(),
            data_dir=str(data.root),
            log=str(data.log_file),
            kafka=KAFKA_VERSION,
            java=str(java),
            kept="attached" if self._attached else "background",
        )
        data.write_runtime(runtime)
        if not self._attached:
            process.leave()
            self._process = None
        return runtime
