"""What of the vLLM edge needs no vLLM: refusals come before it is imported, and nothing outlives its starter."""

import atexit
import gc
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import mira_stream.demo
from mira_stream.config import load_project
from mira_stream.errors import ConfigError, DependencyError, EngineError
from mira_stream.scoring.engine import Request
from mira_stream.sections import GroupSection
from mira_stream.tuning.space import with_choice
from mira_stream.vllm_engine import VllmEngine, starter
from mira_stream.vllm_engine import threads as engine_threads
from mira_stream.vllm_engine.guardian import MARK, marked
from mira_stream.vllm_engine.started import end_started_by

GUARDED = """
import os, subprocess, sys, time
from mira_stream.vllm_engine.guardian import MARK, guard
guard()
guard()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.environ[MARK], child.pid, flush=True)
if sys.argv[1] == "wait":
    time.sleep(600)
"""
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"], stdout=-1)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


async def test_a_wrong_folder_is_refused_before_vllm_is_imported(tmp_path: Path) -> None:
    known = set(sys.modules)
    engine = VllmEngine(tmp_path / "nowhere", GroupSection(family="text"))
    with pytest.raises(ConfigError, match="student_missing"):
        await engine.start()
    assert "vllm" not in set(sys.modules) - known
    assert not engine.alive
    await engine.stop()


async def test_an_engine_that_is_not_started_is_dead(tmp_path: Path) -> None:
    engine = VllmEngine(tmp_path, GroupSection(family="text"))
    with pytest.raises(EngineError) as failure:
        await engine.generate(Request("r", [], 10))
    assert not failure.value.retriable


@pytest.mark.parametrize(("count", "on_cpu"), [(0, True), (1, True), (3, True), (3, False)])
async def test_engine_threads_of_mira_toml_are_those_vllm_starts_with(
    count: int, on_cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND")
    found: list[str | None] = []

    def start() -> None:
        found.extend(os.environ.get(name) for name in names)
        raise DependencyError("engine_start", "no vLLM here", "none")

    fakes: dict[str, dict[str, Any]] = {
        "transformers": {"AutoTokenizer": SimpleNamespace(from_pretrained=lambda *_, **__: None)},
        "vllm": {"AsyncEngineArgs": lambda: SimpleNamespace(create_engine_config=start)},
        "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: on_cpu)},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": None},
    }
    for name, parts in fakes.items():
        module = ModuleType(name)
        vars(module).update(parts)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0")
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    monkeypatch.setattr(starter, "ENVIRONMENT", {})
    monkeypatch.setattr(starter, "engine_arguments", lambda *_: {})
    monkeypatch.setattr(engine_threads, "_first", {"OMP_NUM_THREADS": "7", "VLLM_CPU_OMP_THREADS_BIND": "0"})
    monkeypatch.setattr(starter, "guard", lambda: None)
    at_exit: list[object] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    demo = load_project(Path(mira_stream.demo.__file__).parent / "project", {})
    engine = VllmEngine.for_group(with_choice(demo, "text", {"engine_threads": count}), "text")
    with pytest.raises(DependencyError, match="no vLLM here"):
        await engine.start()
    assert found == ([str(count), "nobind"] if count and on_cpu else ["7", "0"])
    assert at_exit == [gc.freeze], "or the interpreter looks at all that vLLM has imported before it ends"


def until_gone(mark: str, limit_s: float = 60.0) -> list[int]:
    """Process ids that still carry the mark when time is up."""
    deadline = time.monotonic() + limit_s
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_children_end_with_their_starter_however_it_ends(end: signal.Signals | None) -> None:
    how = "leave" if end is None else "wait"
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    with subprocess.Popen(
        [sys.executable, "-c", GUARDED, how], stdout=subprocess.PIPE, text=True, env=environment
    ) as starter:
        assert starter.stdout is not None
        mark, child = starter.stdout.readline().split()
        if end is not None:
            while int(child) not in marked(mark):  # for a moment of its start it has no environment
                time.sleep(0.01)
            starter.send_signal(end)
        starter.wait()
    assert until_gone(mark) == []


def test_its_neighbours_children_live_on_where_one_threads_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, f"{os.getpid()}.{time.monotonic_ns()}")
    begun: queue.Queue[tuple[int, list[int]]] = queue.Queue()
    ended = [threading.Event(), threading.Event()]

    def start(until: threading.Event) -> None:
        with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            begun.put((threading.get_native_id(), [child.pid, int(child.stdout.readline())]))
            until.wait()
            child.kill()

    starters = [threading.Thread(target=start, args=[one]) for one in ended]
    for one in starters:
        one.start()
    found = [begun.get(), begun.get()]
    try:
        end_started_by(found[0][0])
        while set(marked(os.environ[MARK])) & set(found[0][1]):
            time.sleep(0.01)
        assert set(marked(os.environ[MARK])) == set(found[1][1])
    finally:
        end_started_by(found[1][0])
        for event, starter in zip(ended, starters, strict=True):
            event.set()
            starter.join()
    assert until_gone(os.environ[MARK]) == []


def test_a_second_starter_has_children_of_its_own() -> None:
    """A service started by a process that serves engines itself must not lose its engines to the other's guardian."""
    environment = {**os.environ, MARK: "1.1"}
    with subprocess.Popen(
        [sys.executable, "-c", GUARDED, "wait"], stdout=subprocess.PIPE, text=True, env=environment
    ) as starter:
        assert starter.stdout is not None
        mark, child = starter.stdout.readline().split()
        assert mark != "1.1"
        assert int(child) not in marked("1.1")
        starter.kill()
    assert until_gone(mark) == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            "1 validation error for ModelConfig\n  Value error, max_model_len (2000) is too large. [type=value_error]\n"
            "    For further information visit https://errors.pydantic.dev/2/v/value_error",
            "max_model_len (2000) is too large.",
        ),
        (
            "1 validation error for ModelConfig\n  Value error, ['No'] are not supported for now."
            " Supported architectures: dict_keys(['A', 'B'",
            "['No'] are not supported for now.",
        ),
        ("in other words", "in other words"),
    ],
)
def test_what_vllm_refuses_is_told_without_what_stands_around_it(told: str, said: str) -> None:
    assert starter.refused(told) == said
