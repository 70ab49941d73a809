"""Parameters counted from config.json are those of the models themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
import transformers
from safetensors.numpy import save_file

from mira_stream.errors import ConfigError
from mira_stream.scoring.parameters import KNOWN, NotCounted, counted_parameters, expected_parameters
from mira_stream.scoring.student import check_student

pytestmark = pytest.mark.models

SMALL: dict[str, Any] = {
    "num_hidden_layers": 4,
    "hidden_size": 32,
    "intermediate_size": 48,
    "vocab_size": 300,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 6,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "full_attention"],
}
EXPERTS: dict[str, Any] = {"num_experts": 5, "moe_intermediate_size": 12, "num_experts_per_tok": 2}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("LlamaConfig", "LlamaForCausalLM", {}),
    ("LlamaConfig", "LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True, "head_dim": 10}),
    ("MistralConfig", "MistralForCausalLM", {"head_dim": 12}),
    ("Qwen2Config", "Qwen2ForCausalLM", {}),
    ("Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 16, "tie_word_embeddings": True}),
    ("Qwen3Config", "Qwen3ForCausalLM", {"attention_bias": True}),
    ("Qwen3Config", "Qwen3ForSequenceClassification", {"head_dim": 16, "num_labels": 16}),
    ("Qwen2Config", "Qwen2ForSequenceClassification", {"num_labels": 16}),
    ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", {**EXPERTS, "decoder_sparse_step": 2, "mlp_only_layers": [3]}),
    ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", {**EXPERTS, "head_dim": 10}),
    ("Qwen3_5TextConfig", "Qwen3_5ForCausalLM", {**LINEAR, "head_dim": 16}),
    (
        "Qwen3_5MoeTextConfig",
        "Qwen3_5MoeForCausalLM",
        {**LINEAR, **EXPERTS, "head_dim": 16, "shared_expert_intermediate_size": 20},
    ),
]


def model_of(kind: str, architecture: str, more: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """config.json and the shapes of a model that transformers builds of it."""
    config = getattr(transformers, kind)(**(SMALL | more))
    with torch.device("meta"):
        model = getattr(transformers, architecture)(config)
    written = orjson.loads(config.to_json_string()) | {"architectures": [architecture]}
    return written, {name: list(value.shape) for name, value in model.named_parameters()}


@pytest.mark.parametrize(("kind", "architecture", "more"), CASES)
def test_the_formula_counts_what_transformers_builds(kind: str, architecture: str, more: dict[str, Any]) -> None:
    config, shapes = model_of(kind, architecture, more)
    assert expected_parameters(config) == counted_parameters(shapes)


def test_every_known_architecture_is_compared_or_shares_its_text_model() -> None:
    compared = {architecture for _, architecture, _ in CASES}
    assert {name.replace("ForConditionalGeneration", "ForCausalLM") for name in KNOWN} == compared


def test_the_base_of_the_released_students_has_35_billion() -> None:
    config = transformers.Qwen3_5MoeConfig(text_config={}, vision_config={})
    written = orjson.loads(config.to_json_string()) | {"architectures": ["Qwen3_5MoeForConditionalGeneration"]}
    with_output = expected_parameters(written) + 248_320 * 2048
    assert 34e9 < with_output < 36e9


def test_what_is_no_part_of_the_text_model_is_left_out() -> None:
    shapes = {"model.norm.weight": [8], "mtp.layers.0.mlp.weight": [9], "model.visual.blocks.0.weight": [9, 9]}
    assert counted_parameters(shapes | {"lm_head.weight": [300, 8]}) == 8


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"architectures": ["OtherForCausalLM"]}, "OtherForCausalLM"),
        ({"intermediate_size": 0}, "intermediate_size"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"num_attention_heads": "four"}, "num_attention_heads"),
    ],
)
def test_what_cannot_be_counted_says_why(change: dict[str, Any], why: str) -> None:
    with pytest.raises(NotCounted, match=why):
        expected_parameters(SMALL | {"architectures": ["Qwen3ForCausalLM"]} | change)


def folder_of(root: Path, config: dict[str, Any], shapes: dict[str, list[int]]) -> Path:
    root.mkdir(exist_ok=True)
    (root / "config.json").write_bytes(orjson.dumps(config))
    (root / "tokenizer.json").write_text("{}")
    (root / "tokenizer_config.json").write_bytes(orjson.dumps({"chat_template": "{{ messages }}"}))
    save_file({name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, root / "model.safetensors")
    return root


@pytest.fixture
def qwen() -> tuple[dict[str, Any], dict[str, list[int]]]:
    return model_of("Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 16})


def test_a_whole_student_is_accepted_without_a_word(
    tmp_path: Path, qwen: tuple[dict[str, Any], dict[str, list[int]]]
) -> None:
    assert check_student(folder_of(tmp_path / "s", *qwen)) == []


def test_weights_that_lack_a_matrix_are_refused(
    tmp_path: Path, qwen: tuple[dict[str, Any], dict[str, list[int]]]
) -> None:
    config, shapes = qwen
    del shapes["model.layers.2.mlp.up_proj.weight"]
    with pytest.raises(ConfigError, match=r"parameters; config\.json describes"):
        check_student(folder_of(tmp_path / "s", config, shapes))


def test_an_untied_student_without_its_output_projection_is_refused(
    tmp_path: Path, qwen: tuple[dict[str, Any], dict[str, list[int]]]
) -> None:
    config, shapes = qwen
    del shapes["lm_head.weight"]
    with pytest.raises(ConfigError, match="lm_head"):
        check_student(folder_of(tmp_path / "s", config, shapes))
    tied = config | {"tie_word_embeddings": True}
    assert check_student(folder_of(tmp_path / "s", tied, shapes)) == []


def test_a_model_of_the_cards_footer_is_refused(tmp_path: Path) -> None:
    """665 k parameters under a config.json of 35 billion, whatever its tensors are called."""
    config = orjson.loads(transformers.Qwen3_5MoeConfig(text_config={}, vision_config={}).to_json_string())
    config |= {"architectures": ["Qwen3_5MoeForConditionalGeneration"]}
    shapes = {f"model.layers.{n}.input_layernorm.weight": [665_000 // 40] for n in range(40)}
    with pytest.raises(ConfigError, match=r"665,000 parameters; config\.json describes 34,"):
        check_student(folder_of(tmp_path / "s", config, shapes))


def test_an_unknown_architecture_is_checked_as_far_as_it_can_be(
    tmp_path: Path, qwen: tuple[dict[str, Any], dict[str, list[int]]]
) -> None:
    config, shapes = qwen
    other = config | {"architectures": ["OtherForCausalLM"]}
    (note,) = check_student(folder_of(tmp_path / "s", other, shapes))
    assert "OtherForCausalLM" in note
    few = {f"model.layers.{n}.norm.weight": [8] for n in range(4)}
    with pytest.raises(ConfigError, match="fewer than"):
        check_student(folder_of(tmp_path / "t", other, few))


def test_an_index_that_speaks_of_other_files_is_refused(
    tmp_path: Path, qwen: tuple[dict[str, Any], dict[str, list[int]]]
) -> None:
    folder = folder_of(tmp_path / "s", *qwen)
    names = dict.fromkeys([*qwen[1], "model.layers.9.gone.weight"], "model-00002-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_bytes(orjson.dumps({"weight_map": names}))
    with pytest.raises(ConfigError, match=r"model\.layers\.9\.gone"):
        check_student(folder)
