"""The embedded Kafka as a victim: stopped, killed, frozen, started again on the same port, and reached by a proxy."""

import asyncio
import importlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from unittest.mock import patch

from mira_stream.broker_local import EmbeddedBroker, Runtime
from mira_stream.broker_local.data_dir import DataDir
from mira_stream.broker_local.launch import write_properties
from tests.ports import held_port, lasting_port

LOOK_S: Final = 0.05


class Kafka:
    """One broker, one folder, one port for life. Blocking parts run in threads.

    `servers` goes to the broker itself; `proxied_servers` to the port where a proxy in front of `inner_port` listens:
    clients that come by that listener are told the proxy's port as the broker's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.inner_port = lasting_port(), lasting_port()
        self._held = held_port()
        self.proxy_port = int(self._held.getsockname()[1])
        """Ours from here on, though a proxy listens there only now and then."""
        self._broker: EmbeddedBroker | None = None
        self._runtime: Runtime | None = None

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def proxied_servers(self) -> str:
        return f"127.0.0.1:{self.proxy_port}"

    @property
    def pid(self) -> int:
        assert self._runtime is not None
        return self._runtime.pid

    async def start(self) -> None:
        await asyncio.to_thread(self._start)

    async def until_listening(self) -> float:
        """Monotonic seconds when clients can connect again: while it starts."""
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(LOOK_S)
                continue
            writer.close()
            return time.monotonic()

    async def stop(self) -> None:
        """SIGTERM; returns when it is gone."""
        broker, self._broker = self._broker, None
        if broker is not None:
            await asyncio.to_thread(broker.stop)

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.send(signal.SIGKILL)
        await self.stop()

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _start(self) -> None:
        with self._two_listeners():
            broker = EmbeddedBroker(self.folder, port=self.port)
            self._runtime = broker.start()
        self._broker = broker

    @contextmanager
    def _two_listeners(self) -> Iterator[None]:
        def write(data: DataDir, port: int, controller_port: int) -> None:
            write_properties(data, port, controller_port)
            inner, outer = f"127.0.0.1:{self.inner_port}", f"127.0.0.1:{self.proxy_port}"
            text = data.properties.read_text(encoding="ascii")
            text = text.replace("\nlisteners=", f"\nlisteners=PROXIED://{inner},")
            text = text.replace("\nadvertised.listeners=", f"\nadvertised.listeners=PROXIED://{outer},")
            text = text.replace("protocol.map=", "protocol.map=PROXIED:PLAINTEXT,")
            data.properties.write_text(text, encoding="ascii")

        with patch.object(importlib.import_module("mira_stream.broker_local.embedded"), "write_properties", write):
            yield
