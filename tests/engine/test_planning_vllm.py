"""What planning counts is what vLLM counts: bytes a token, states, and the cache of a real engine."""

from math import prod
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

import mira_stream.demo
from mira_stream.config import load_project
from mira_stream.planning.layers import BYTES, layers_of
from mira_stream.planning.reading import base_model, read_model
from mira_stream.vllm_engine import VllmEngine
from tests.unit.planning_models import model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


async def test_a_real_engine_holds_as_many_tokens_as_planning_says() -> None:
    """vLLM divides the cache it is given into blocks: all of it, by the bytes a token that config.json says."""
    project = load_project(Path(mira_stream.demo.__file__).parent / "project", environment={})
    student = read_model(str(project.student_path("text")))
    engine = VllmEngine.for_group(project, "text")
    await engine.start()
    try:
        assert engine._llm is not None
        config = engine._llm.vllm_config
        cache, given = config.cache_config, project.settings.groups["text"].kv_cache_gib * 2**30
        served = str(config.model_config.dtype).removeprefix("torch.")
        blocks, size = cache.num_gpu_blocks, cache.block_size
    finally:
        await engine.stop()
    as_served = replace(student, element_bytes=BYTES[served])  # a CPU without AVX-512 serves in float32
    assert blocks == given // (size * as_served.token_bytes())


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_a_hybrids_layers_are_vllms(gpus: int) -> None:
    """The specs of vLLM's cache manager for the base's two kinds of layers, as its model code fills them in."""
    from vllm.model_executor.layers.mamba.mamba_utils import MambaStateShapeCalculator
    from vllm.v1.kv_cache_interface import FullAttentionSpec

    base = base_model("qwen3_5_moe_text", "base", 65_536)
    shapes = MambaStateShapeCalculator.gated_delta_net_state_shape(gpus, 16, 32, 128, 128, 4)
    linear = sum(layer.kind == "linear_attention" for layer in base.layers)
    assert base.state_bytes(gpus) == linear * 2 * sum(prod(shape) for shape in shapes)
    full = FullAttentionSpec(block_size=16, num_kv_heads=max(1, 2 // gpus), head_size=256, dtype=torch.bfloat16)
    assert base.token_bytes(gpus) == (len(base.layers) - linear) * full.page_size_bytes // 16


def test_latent_attention_is_vllms() -> None:
    from vllm.v1.kv_cache_interface import MLAAttentionSpec

    latent = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
    layers = layers_of({"num_hidden_layers": 3, "num_attention_heads": 16, **latent}, "bfloat16")
    spec = MLAAttentionSpec(block_size=16, num_kv_heads=1, head_size=512 + 64, dtype=torch.bfloat16)
    assert model(layers).token_bytes() == 3 * spec.page_size_bytes // 16
