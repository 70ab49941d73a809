"""How many parameters a model has according to its config.json, and how many its weights hold. Pure.

The formulas follow the modules of transformers' models of the same name; a test compares them with those models.
What is no part of the text model is left out on both sides: prediction heads for further tokens (`mtp`), the vision
tower, rotary tables, and the output projection, which a tied model may or may not repeat, and a head's.
"""

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(gt=0)]
_BESIDE: Final = re.compile(r"(^|\.)(mtp|visual|vision_tower|lm_head|score)\.|rotary_emb\.inv_freq$")
_LLAMA_LIKE: Final = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_HEADS: Final = ("Qwen2ForSequenceClassification", "Qwen3ForSequenceClassification")
_QWEN35: Final = ("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration")
_QWEN35_MOE: Final = ("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration")
KNOWN: Final = (*_LLAMA_LIKE, *_HEADS, "Qwen3MoeForCausalLM", *_QWEN35, *_QWEN35_MOE)
"""Architectures whose parameters can be counted from config.json."""


class NotCounted(Exception):
    """The number cannot be told from config.json; the text says why."""


class _Sizes(Struct, frozen=True, kw_only=True):
    """Keys of config.json that decide the number of parameters. A key that a model needs and that is absent: 0."""

    num_hidden_layers: Count
    hidden_size: Count
    vocab_size: Count
    num_attention_heads: Count
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    intermediate_size: int = 0
    attention_bias: bool = False
    mlp_bias: bool = False
    num_experts: int = 0
    num_local_experts: int = 0
    moe_intermediate_size: int = 0
    shared_expert_intermediate_size: int = 0
    decoder_sparse_step: Count = 1
    mlp_only_layers: list[int] | None = None
    layer_types: list[str] | None = None
    full_attention_interval: Count = 4
    linear_num_key_heads: int = 0
    linear_num_value_heads: int = 0
    linear_key_head_dim: int = 0
    linear_value_head_dim: int = 0
    linear_conv_kernel_dim: int = 0

    def need(self, *names: str) -> None:
        missing = [name for name in names if not getattr(self, name)]
        if missing:
            raise NotCounted(f"config.json lacks {', '.join(missing)}")

    @property
    def experts(self) -> int:
        return self.num_experts or self.num_local_experts

    @property
    def head(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def query(self) -> int:
        return self.num_attention_heads * self.head

    @property
    def key(self) -> int:
        return (self.num_key_value_heads or self.num_attention_heads) * self.head


def expected_parameters(config: Mapping[str, Any]) -> int:
    """Parameters of the text model without its output projection. Raises NotCounted."""
    architecture = str((config.get("architectures") or ["none"])[0])
    if architecture not in KNOWN:
        raise NotCounted(f"the architecture {architecture} is not among those counted here")
    if config.get("quantization_config"):
        raise NotCounted("the weights are quantised")
    text = config.get("text_config") or config
    try:
        sizes = msgspec.convert(text, _Sizes, strict=True)
    except msgspec.ValidationError as error:
        raise NotCounted(f"config.json: {error}") from None
    layers = sum(_layer(sizes, architecture, number) for number in range(sizes.num_hidden_layers))
    return sizes.vocab_size * sizes.hidden_size + layers + sizes.hidden_size


def counted_parameters(shapes: Mapping[str, Sequence[int]]) -> int:
    """Parameters of these tensors, without what `expected_parameters` leaves out."""
    return sum(prod(shape) for name, shape in shapes.items() if not _BESIDE.search(name))


def _layer(sizes: _Sizes, architecture: str, number: int) -> int:
    norms = 2 * sizes.hidden_size
    if architecture in _QWEN35 or architecture in _QWEN35_MOE:
        mixer = _gated_attention(sizes) if _is_full(sizes, number) else _delta_net(sizes)
        shared = _shared_experts(sizes) if architecture in _QWEN35_MOE else _mlp(sizes)
        return norms + mixer + shared
    if architecture == "Qwen3MoeForCausalLM" and _is_sparse(sizes, number):
        return norms + _attention(sizes, architecture) + _experts(sizes)
    return norms + _attention(sizes, architecture) + _mlp(sizes)


def _attention(sizes: _Sizes, architecture: str) -> int:
    weights = 2 * sizes.hidden_size * (sizes.query + sizes.key)
    if architecture.startswith("Qwen2For"):  # always for query, key and value, never for the output
        return weights + sizes.query + 2 * sizes.key
    biased = sizes.attention_bias and architecture != "MistralForCausalLM"
    biases = sizes.query + 2 * sizes.key + sizes.hidden_size if biased else 0
    norms = 2 * sizes.head if architecture.startswith("Qwen3") else 0
    return weights + biases + norms


def _mlp(sizes: _Sizes) -> int:
    sizes.need("intermediate_size")
    biases = 2 * sizes.intermediate_size + sizes.hidden_size if sizes.mlp_bias else 0
    return 3 * sizes.hidden_size * sizes.intermediate_size + biases


def _is_sparse(sizes: _Sizes, number: int) -> bool:
    listed = number in (sizes.mlp_only_layers or ())
    return not listed and sizes.experts > 0 and (number + 1) % sizes.decoder_sparse_step == 0


def _experts(sizes: _Sizes) -> int:
    sizes.need("experts", "moe_intermediate_size")
    return sizes.experts * sizes.hidden_size * (3 * sizes.moe_intermediate_size + 1)


def _shared_experts(sizes: _Sizes) -> int:
    sizes.need("shared_expert_intermediate_size")
    return _experts(sizes) + sizes.hidden_size * (3 * sizes.shared_expert_intermediate_size + 1)


def _is_full(sizes: _Sizes, number: int) -> bool:
    if sizes.layer_types is not None:
        if len(sizes.layer_types) != sizes.num_hidden_layers:
            raise NotCounted("config.json: layer_types and num_hidden_layers differ")
        return sizes.layer_types[number] == "full_attention"
    return (number + 1) % sizes.full_attention_interval == 0


def _gated_attention(sizes: _Sizes) -> int:
    biases = 2 * sizes.query + 2 * sizes.key + sizes.hidden_size if sizes.attention_bias else 0
    return sizes.hidden_size * (3 * sizes.query + 2 * sizes.key) + 2 * sizes.head + biases


def _delta_net(sizes: _Sizes) -> int:
    sizes.need("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim")
    sizes.need("linear_conv_kernel_dim")
    keys = sizes.linear_num_key_heads * sizes.linear_key_head_dim
    values = sizes.linear_num_value_heads * sizes.linear_value_head_dim
    mixed = 2 * keys + values
    projections = sizes.hidden_size * (mixed + 2 * values + 2 * sizes.linear_num_value_heads)
    small = mixed * sizes.linear_conv_kernel_dim + 2 * sizes.linear_num_value_heads + sizes.linear_value_head_dim
    return projections + small
