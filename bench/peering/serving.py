"""One `vllm serve` for all that ask over HTTP: the arguments are those of the project's own engine."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.request import Request, urlopen

import orjson

from mira_stream.errors import DependencyError
from mira_stream.vllm_engine import empty

SERVE: Final = Path(__file__).parent / "programs" / "vllm_serve.py"
START_S: Final = 900.0
END_S: Final = 15.0
GENERATED: Final = re.compile(r"^vllm:generation_tokens_total\{.*\} (\S+)$", re.MULTILINE)
RUNNING: Final = re.compile(r"^vllm:num_requests_running\{.*\} (\S+)$", re.MULTILINE)


class Server(NamedTuple):
    """`pids`: whose memory is the server's."""

    base_url: str
    model: str
    pids: tuple[int, ...] = ()

    @property
    def _root(self) -> str:
        return self.base_url.removesuffix("/v1")

    async def generated(self) -> int | None:
        """Tokens it has generated since its start; None if it does not tell."""
        return await self._metric(GENERATED)

    async def forget(self) -> None:
        """Empty its prefix cache. Raises DependencyError(cache_kept) if it cannot."""
        await empty(self._forgot)

    async def _forgot(self) -> bool:
        try:
            text = await asyncio.to_thread(_ask, Request(f"{self._root}/reset_prefix_cache", method="POST"))
            return orjson.loads(text)["success"] is True
        except (OSError, KeyError, TypeError, orjson.JSONDecodeError) as error:
            raise DependencyError(
                "cache_kept",
                f"{self._root} does not say that it has emptied its prefix cache ({type(error).__name__}: {error})",
                "serve by vLLM 0.32 with VLLM_SERVER_DEV_MODE=1 in its environment",
            ) from None

    async def idle(self) -> None:
        """Until it works on nothing any more: requests of a client that is gone are given up."""
        while await self._metric(RUNNING):  # noqa: ASYNC110 - the server is asked, it cannot tell
            await asyncio.sleep(0.1)

    async def _metric(self, pattern: re.Pattern[str]) -> int | None:
        try:
            text = await asyncio.to_thread(_ask, Request(f"{self._root}/metrics"))
        except OSError:
            return None
        found = pattern.search(text)
        return int(float(found[1])) if found else None


def _ask(request: Request) -> str:
    with urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


@asynccontextmanager
async def serving(arguments: Mapping[str, Any], model: str, folder: Path) -> AsyncIterator[Server]:
    """Raises RuntimeError when it ends, or is not there in time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["serve", arguments["model"], "--served-model-name", model, "--host", "127.0.0.1", "--port", str(port)]
    for name, value in arguments.items():
        if name in ("model", "disable_log_stats") or value is None or value is False:  # its metrics count tokens
            continue
        command.append(f"--{name.replace('_', '-')}")
        if value is not True:
            command.append(str(value))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, SERVE, *command, stdout=log, stderr=log, start_new_session=True
        )
    server = Server(f"http://127.0.0.1:{port}/v1", model, (process.pid,))
    try:
        async with asyncio.timeout(START_S):
            while not await _healthy(port):
                if process.returncode is not None:
                    raise RuntimeError(f"vllm serve ended: {folder / 'server.log'}")
                await asyncio.sleep(0.5)
        yield server
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its engine, too


async def _healthy(port: int) -> bool:
    try:
        await asyncio.to_thread(_ask, Request(f"http://127.0.0.1:{port}/health"))
    except OSError:
        return False
    return True
