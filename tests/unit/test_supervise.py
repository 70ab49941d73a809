"""No process is left behind, however a run ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mira_stream.demo import stream as streaming
from mira_stream.demo.scrape import Gauges
from mira_stream.demo.stream import STALL_S, Stream
from mira_stream.errors import ConfigError, DependencyError
from mira_stream.supervision import guard
from mira_stream.supervision.keeping import _words
from mira_stream.supervision.supervisor import Supervisor, last_words

PATIENCE_S = 60.0
SLEEPER = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print('up', flush=True); time.sleep(600)"  # fmt: skip  # noqa: E501


@pytest.fixture
def run_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Supervisor.start(name, code)` runs Python code instead of a service."""
    spawn = asyncio.create_subprocess_exec

    async def python(*command: str, **options: object) -> asyncio.subprocess.Process:
        return await spawn(sys.executable, "-c", *command[3:], **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", python)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - other processes have no event to wait for
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("run_python")
async def test_leaving_the_block_ends_children_and_their_children(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.start("sleeper", SLEEPER)
        await until(lambda: len(guard.marked(supervisor.run)) == 2)
    assert guard.marked(supervisor.run) == []


@pytest.mark.usefixtures("run_python")
async def test_cancelled_run_leaves_nothing(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)

    async def work() -> None:
        async with supervisor:
            await supervisor.start("sleeper", SLEEPER)
            await asyncio.sleep(600)

    task = asyncio.create_task(work())
    await until(lambda: len(guard.marked(supervisor.run)) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert guard.marked(supervisor.run) == []


@pytest.mark.usefixtures("run_python")
async def test_a_child_that_refuses_to_end_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    async with Supervisor(tmp_path) as supervisor:
        child = await supervisor.start("stubborn", stubborn)
        await until(lambda: last_words(child.log) == ["up"])
        await supervisor.stop("stubborn", term_s=0.1)
        assert child.ended.result() == -signal.SIGKILL


@pytest.mark.usefixtures("run_python")
async def test_a_death_is_told_with_the_end_of_the_log(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        child = await supervisor.start("scorer", "print('Killed by nobody'); raise SystemExit(9)")
        await child.ended
        with pytest.raises(DependencyError, match="exit code 9") as caught:
            supervisor.check()
    assert "Killed by nobody" in caught.value.cause
    assert str(tmp_path / "scorer.log") in caught.value.fix


@pytest.mark.usefixtures("run_python")
async def test_a_death_with_an_error_of_ours_is_that_error(tmp_path: Path) -> None:
    said = r"print('starting\nerror student_missing: no folder\n  do: copy it\nnoise'); raise SystemExit(3)"
    async with Supervisor(tmp_path) as supervisor:
        child = await supervisor.start("scorer", said)
        await child.ended
        with pytest.raises(ConfigError) as caught:
            supervisor.check()
    assert "error student_missing: no folder\n  do: copy it" in caught.value.cause
    assert "noise" not in caught.value.cause
    assert str(tmp_path / "scorer.log") in caught.value.fix


@pytest.mark.usefixtures("run_python")
async def test_a_death_by_a_bug_is_told_with_what_happened_and_what_to_do(tmp_path: Path) -> None:
    said = r"print('noise\nbug: RuntimeError: boom\n  do: run it again'); raise SystemExit(70)"
    async with Supervisor(tmp_path) as supervisor:
        child = await supervisor.start("scorer", said)
        await child.ended
    assert last_words(child.log) == ["bug: RuntimeError: boom", "  do: run it again"]
    assert _words(child) == ["bug: RuntimeError: boom"]


@pytest.mark.usefixtures("run_python")
async def test_a_death_is_not_told_with_the_words_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "scorer.log").write_text("error old: die älteste Geschichte\n  do: forget it\n")
    async with Supervisor(tmp_path) as supervisor:
        child = await supervisor.start("scorer", "print('new words'); raise SystemExit(9)")
        await child.ended
        with pytest.raises(DependencyError, match="new words") as caught:
            supervisor.check()
        assert "old" not in caught.value.cause
        await supervisor.kill("scorer")
        child = await supervisor.start("scorer", "raise SystemExit(9)")
        await child.ended
        with pytest.raises(DependencyError, match="it said nothing"):
            supervisor.check()
    assert (tmp_path / "scorer.log").read_text().startswith("error old")


@pytest.mark.usefixtures("run_python")
async def test_only_children_that_may_end_end_in_peace(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        producer = await supervisor.start("producer", "pass", may_end=True)
        await producer.ended
        supervisor.check()
        scorer = await supervisor.start("scorer", "pass")
        await scorer.ended
        with pytest.raises(DependencyError, match="scorer ended"):
            supervisor.check()


@pytest.mark.usefixtures("run_python")
async def test_a_killed_service_is_no_death(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.start("scorer", SLEEPER)
        await until(lambda: len(guard.marked(supervisor.run)) == 2)
        await supervisor.kill("scorer")
        await until(lambda: guard.marked(supervisor.run) == [])
        supervisor.check()


def test_the_guard_ends_the_run_of_a_killed_supervisor(tmp_path: Path) -> None:
    code = f"""
import asyncio, os, signal, sys
from pathlib import Path
from mira_stream.supervision.keeping import _words
from mira_stream.supervision.supervisor import Supervisor

async def main():
    async with Supervisor(Path({str(tmp_path)!r})) as supervisor:
        environment = supervisor.environment
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import time; time.sleep(600)", env=environment, start_new_session=True
        )
        print(supervisor.run, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=os.getcwd())
    assert done.returncode == -signal.SIGKILL
    run = done.stdout.strip()
    assert run

    async def gone() -> None:
        await until(lambda: guard.marked(run) == [])

    asyncio.run(gone())


async def test_a_production_that_is_cancelled_leaves_its_producers_to_the_supervisor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the demo ends with a cancellation in place of the words of the service that died."""
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    started = asyncio.Event()

    async def start(*_: object) -> SimpleNamespace:
        started.set()
        return SimpleNamespace(ended=ended)

    async def make(self: object, names: list[str], wanted: object) -> list[str]:
        return names

    monkeypatch.setattr(streaming, "shares", lambda *_: {"one": 1})
    monkeypatch.setattr(Stream, "_make", make)
    monkeypatch.setattr(Stream, "_start_producer", start)
    stream = object.__new__(Stream)
    stream._stage = SimpleNamespace(project=None)  # type: ignore[assignment]
    stream._wish = SimpleNamespace(own=[], documents=1, chaos=False)  # type: ignore[assignment]
    production = asyncio.create_task(stream._produce())
    await started.wait()
    await asyncio.sleep(0)
    production.cancel()
    await asyncio.gather(production, return_exceptions=True)
    assert production.cancelled()
    assert not ended.cancelled()


def test_an_engine_that_comes_up_late_is_no_stall(tmp_path: Path) -> None:
    tally = SimpleNamespace(produced=3, scored=Counter[str](), dead=[], settled=0)
    stage = SimpleNamespace(out=tmp_path)
    stream = Stream(stage, SimpleNamespace(chaos=False), None, None, tally)  # type: ignore[arg-type]
    stream._check_progress(80.0)
    stream._check_progress(80.0 + STALL_S)
    stream._gauges = Gauges({"text": True}, 0)
    stream._check_progress(81.0 + STALL_S)
    stream._check_progress(81.0 + 2 * STALL_S)
    with pytest.raises(DependencyError, match=r"demo_stalled.*3 produced, 0 scored, 0 ended, 1 engines serve"):
        stream._check_progress(82.0 + 2 * STALL_S)
