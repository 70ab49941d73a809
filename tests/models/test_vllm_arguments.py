"""What a group's table says is what vLLM is told."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from mira_stream.config import Project, Settings
from mira_stream.sections import GroupSection, LimitsSection
from mira_stream.vllm_engine import engine_arguments, sharing_cores, threads

pytestmark = pytest.mark.models


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's platform, without importing vLLM."""
    platforms = ModuleType("vllm.platforms")
    platforms.current_platform = SimpleNamespace(is_cpu=lambda: False)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)


@pytest.mark.usefixtures("on_gpu")
def test_the_cards_settings_reach_the_engine() -> None:
    group = GroupSection(
        family="agent",
        context_tokens_max=65_536,
        max_num_batched_tokens=131_072,
        tensor_parallel_size=8,
        dtype="float16",
    )
    told = engine_arguments(Path("s"), group)
    assert (told["max_model_len"], told["max_num_batched_tokens"]) == (65_536, 131_072)
    assert (told["tensor_parallel_size"], told["dtype"], told["gpu_memory_utilization"]) == (8, "float16", 0.9)
    assert (told["trust_remote_code"], told["load_format"]) == (False, "safetensors")


@pytest.mark.usefixtures("on_gpu")
def test_the_defaults_are_what_they_were() -> None:
    told = engine_arguments(Path("s"), GroupSection(family="text"))
    assert (told["dtype"], told["max_num_batched_tokens"]) == ("auto", None)


@pytest.mark.parametrize(("able", "dtype"), [("AVX2", "float32"), ("AVX512", "bfloat16"), ("AVX512_AMX", "bfloat16")])
def test_a_cpu_that_emulates_bfloat16_is_spared_it(monkeypatch: pytest.MonkeyPatch, able: str, dtype: str) -> None:
    import torch

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: able)
    assert engine_arguments(Path("s"), GroupSection(family="text"))["dtype"] == dtype
    asked = GroupSection(family="text", dtype="float16")
    assert engine_arguments(Path("s"), asked)["dtype"] == "float16", "what is asked for is not changed"


@pytest.mark.usefixtures("on_gpu")
def test_only_a_head_is_served_by_the_pooling_runner() -> None:
    head = engine_arguments(Path("s"), GroupSection(family="text", mode="head"))
    assert (head["runner"], head["convert"], head["enable_prefix_caching"]) == ("pooling", "classify", True)
    assert "runner" not in engine_arguments(Path("s"), GroupSection(family="text", mode="expected"))


@pytest.mark.usefixtures("on_gpu")
def test_prefix_caching_and_chunked_prefill_can_be_turned_off() -> None:
    told = engine_arguments(Path("s"), GroupSection(family="text"))
    assert (told["enable_prefix_caching"], told["enable_chunked_prefill"]) == (True, True)
    off = engine_arguments(Path("s"), GroupSection(family="text", prefix_caching=False, chunked_prefill=False))
    assert (off["enable_prefix_caching"], off["enable_chunked_prefill"]) == (False, False)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """It says nothing of threads, and no engine was started."""
    monkeypatch.setattr(threads, "_first", {})
    monkeypatch.delenv(threads.BIND, raising=False)
    monkeypatch.delenv(threads.THREADS, raising=False)
    return monkeypatch


def test_threads_are_set_for_the_engines_that_start_and_taken_back(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(threads, "_first", {threads.THREADS: "7"})
    environment.setenv(threads.THREADS, "7")
    for count, wanted in ((0, (None, "7")), (2, ("nobind", "2")), (3, ("nobind", "3")), (0, (None, "7"))):
        threads.set_threads(count)
        assert (os.environ.get(threads.BIND), os.environ.get(threads.THREADS)) == wanted


def threads_of(groups: Sequence[str], cores: int, *, engine_threads: int = 0, served: Sequence[str] = ()) -> int:
    """As many as each engine of `groups` gets; those of `served` are endpoints."""
    known = {
        name: GroupSection(family="text", engine="openai", base_urls=["http://e"], model="m")
        if name in served
        else GroupSection(family="text")
        for name in ("a", "b", "c")
    }
    settings = Settings(groups=known, limits=LimitsSection(engine_threads=engine_threads))
    return sharing_cores(Project(Path(), settings), groups, cores).settings.limits.engine_threads


def test_hyper_threads_of_a_core_count_once(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    environment.setattr(threads, "_siblings", lambda cpu: f"{cpu % 2},{cpu % 2 + 2}")
    assert threads.physical_cores() == 2
    assert threads_of("ab", 0) == 1


def test_several_engines_of_a_process_share_its_cores(environment: pytest.MonkeyPatch) -> None:
    assert [threads_of("abc", cores) for cores in (1, 2, 6, 16)] == [1, 1, 2, 5]
    assert [threads_of(groups, 16) for groups in ("ab", "a", "")] == [8, 0, 0], "vLLM's own choice for one"
    assert threads_of("abc", 16, engine_threads=3) == 3, "what mira.toml says"
    assert [threads_of("abc", 16, served=served) for served in ("a", "ab", "abc")] == [8, 0, 0], "endpoints have none"
    threads.set_threads(5)  # as of an engine started before
    assert threads_of("ab", 16) == 8
    threads.set_threads(0)
    environment.setenv(threads.THREADS, "1")
    assert threads_of("ab", 16) == 8, "what an engine's start has set"
    environment.setattr(threads, "_first", {threads.THREADS: "3"})
    assert threads_of("ab", 16) == 3, "what the environment says"
    environment.setattr(threads, "_first", {threads.BIND: "0-3"})
    assert threads_of("abc", 16) == 0, "what the environment says"
