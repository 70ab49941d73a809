"""Stand-in engines of the fault suite. They have no model: scores come from a hash, or from a tag in the document.

MIRA_FAULT_ENGINE   JSON of EngineSettings; without it the service gets the engine that mira.toml names
"""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from typing import Any, Final, Literal

from msgspec import Struct

from mira_stream.errors import EngineError
from mira_stream.messages import DIMENSIONS
from mira_stream.render import Offsets
from mira_stream.scorecard import Reply, write
from mira_stream.scoring.engine import Completion, Request
from mira_stream.testing.engine import GARBAGE, ScriptedEngine, hashed_answer, scores_of, verdict_of

VARIABLE: Final = "MIRA_FAULT_ENGINE"
_TAG: Final = re.compile(r"tag:(\w+)")
_GARBAGE: Final = re.compile(r"garbage:(\w+)")
_CHILD: Final = "import os,sys\nwhile True:\n line=sys.stdin.readline()\n if not line: break\n" + (
    " if 'POISON' in line: os.abort()\n sys.stdout.write(line); sys.stdout.flush()\n"
)


class EngineSettings(Struct, frozen=True, kw_only=True):
    """`delay_s`: a request's time. `kind` child: answers come from a process of their own, which may be killed or
    frozen, and which dies of every request that holds POISON. `requests`: a file that gets a line a request."""

    kind: Literal["scripted", "child"] = "scripted"
    delay_s: float = 0.02
    answer: Literal["hashed", "tagged", "garbage", "huge"] = "hashed"
    requests: str = ""
    pid_file: str = ""


def tagged_answer(request: Request) -> str:
    """Scores by the tag that the document carries, whatever else it says."""
    found = _TAG.search(request.messages[-1]["content"])
    scores = scores_of(found[1] if found else "none")
    overall = round(sum(scores) * 10 / DIMENSIONS)
    return write(Reply(scores, overall, verdict_of(overall)), "scores_first", "scores", [""] * DIMENSIONS)


def garbage_answer(request: Request) -> str:
    """The garbage that the document asks for; else an honest answer."""
    found = _GARBAGE.search(request.messages[-1]["content"])
    return GARBAGE[found[1]] if found else hashed_answer(request)


def huge_answer(request: Request) -> str:
    """A good score block with a megabyte behind it."""
    return hashed_answer(request) + "\n" + "x" * 2**20


ANSWERS: Final[dict[str, Callable[[Request], str]]] = {
    "hashed": hashed_answer,
    "tagged": tagged_answer,
    "garbage": garbage_answer,
    "huge": huge_answer,
}


def _note(settings: EngineSettings, request: Request) -> None:
    if settings.requests:
        _append(settings.requests, request.request_id)


def _append(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(line + "\n")


class SlowEngine(ScriptedEngine):
    """Every request takes `delay_s`."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(ANSWERS[settings.answer])
        self._settings = settings

    async def generate(self, request: Request) -> Completion:
        if not request.request_id.startswith("probe"):
            _note(self._settings, request)
            await asyncio.sleep(self._settings.delay_s)
        return await super().generate(request)


class ChildEngine(ScriptedEngine):
    """Each request goes through a child process and back; the child can be killed and frozen like a real engine's."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(ANSWERS[settings.answer])
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._echoes: dict[str, asyncio.Future[None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await super().start()
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-c", _CHILD, stdin=pipe, stdout=pipe)
        self._reading = asyncio.create_task(self._read(self._process))
        if self._settings.pid_file:
            _append(self._settings.pid_file, str(self._process.pid))

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading
        await super().stop()

    async def generate(self, request: Request) -> Completion:
        process = self._process
        if process is None or process.stdin is None or not self.alive:
            raise EngineError("the child engine is gone", retriable=False)
        _note(self._settings, request)
        await asyncio.sleep(self._settings.delay_s)
        echo: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._echoes[request.request_id] = echo
        poison = "POISON" if "POISON" in request.messages[-1]["content"] else ""
        try:
            process.stdin.write(f"{request.request_id} {poison}\n".encode())
            await process.stdin.drain()
            await echo
        except (OSError, RuntimeError):  # uvloop says the latter of a pipe that is closed
            raise EngineError("the child engine is gone", retriable=False) from None
        finally:
            self._echoes.pop(request.request_id, None)
        return await super().generate(request)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            echo = self._echoes.get(line.decode().split(" ")[0])
            if echo is not None and not echo.done():
                echo.set_result(None)
        await process.wait()
        self.die()
        for echo in list(self._echoes.values()):
            if not echo.done():
                echo.set_exception(EngineError("the child engine has ended", retriable=False))

    def tokenize(self, text: str) -> Offsets:
        return super().tokenize(text)


def build(settings: EngineSettings) -> ScriptedEngine:
    return ChildEngine(settings) if settings.kind == "child" else SlowEngine(settings)


def builder(environment: dict[str, Any] | None = None) -> Callable[[object, str], ScriptedEngine] | None:
    """The engine builder that the environment asks for; None if it asks for none."""
    import msgspec

    text = (os.environ if environment is None else environment).get(VARIABLE)
    if not text:
        return None
    settings = msgspec.json.decode(text, type=EngineSettings)
    return lambda project, group: build(settings)
