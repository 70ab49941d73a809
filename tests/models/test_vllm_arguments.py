"""What a group's table says is what vLLM is told."""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from mira_stream.sections import GroupSection
from mira_stream.vllm_engine import engine_arguments, starter

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


def test_threads_are_set_for_the_engines_that_start_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("VLLM_CPU_OMP_THREADS_BIND", "OMP_NUM_THREADS")
    monkeypatch.setattr(starter, "_first", {})
    monkeypatch.delenv(names[0], raising=False)
    monkeypatch.setenv(names[1], "7")

    def said() -> list[str | None]:
        return [os.environ.get(name) for name in names]

    for threads, wanted in ((0, [None, "7"]), (2, ["nobind", "2"]), (3, ["nobind", "3"]), (0, [None, "7"])):
        starter._set_threads(threads)
        assert said() == wanted
