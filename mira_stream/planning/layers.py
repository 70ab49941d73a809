"""What each layer of a model keeps of a sequence, and what its attention costs, from config.json. Pure.

  full_attention       keys and values of every token: 2 x kv heads x head_dim
  sliding_attention    the same, of the newest `sliding_window` tokens only
  chunked_attention    the same, of the newest `attention_chunk_size` tokens at most
  linear_attention     nothing a token: the convolution's last inputs, and for each value head a matrix of key x value
                       (gated delta net, Yang et al. 2024)
  with kv_lora_rank    one latent vector and one rotary key a token for all heads (DeepSeek-V2, 2024, section 2.1)

A key that makes a layer keep anything else is refused: a number that is wrong by a factor is worse than none.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from mira_stream.errors import ConfigError

BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}
REFUSED: Final = (
    "is_encoder_decoder",
    "num_kv_shared_layers",
    "attention_k_eq_v",
    "global_head_dim",
    "num_global_key_value_heads",
    "index_topk",
    "index_head_dim",
    "compress_ratios",
    "linear_attn_config",
    "hybrid_override_pattern",
    "layers_block_type",
    "attn_layer_period",
    "mamba_d_state",
    "ssm_state_size",
    "state_size",
    "conv_L_cache",
)
"""Keys of layouts that are not counted here: shared, indexed or compressed caches, Mamba and convolution layers."""
WINDOWS: Final = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}


class Layer(Struct, frozen=True, kw_only=True):
    """One layer. `kv_elements`: kept of one token for each of `kv_heads`. `window`: of so many tokens at most.
    `state_bytes`: constant, a sequence. FLOP: `pair_flop` of a query and a key, `token_flop` a token, both beside the
    layer's weights."""

    kind: str
    kv_heads: int = 0
    kv_elements: int = 0
    window: int | None = None
    state_bytes: int = 0
    pair_flop: int = 0
    token_flop: int = 0

    def kept(self, tokens: float) -> float:
        """Tokens that are kept of a sequence of `tokens`."""
        return tokens if self.window is None else min(tokens, self.window)

    def pairs(self, first: float, last: float) -> float:
        """Queries `first` to `last`, each with all keys before it that are kept: the area under `kept`."""
        if self.window is None:
            return (last**2 - first**2) / 2
        low, high = min(first, self.window), min(last, self.window)
        beyond = max(0.0, last - self.window) - max(0.0, first - self.window)
        return (high**2 - low**2) / 2 + beyond * self.window


def layers_of(config: Mapping[str, Any], dtype: str) -> list[Layer]:
    """The layers of a text model. `config`: with the defaults of its class (reading.py). Raises
    ConfigError(model_layout) for what cannot be counted."""
    for name in REFUSED:
        if config.get(name):
            raise _layout(f"config.json has {name} = {config[name]!r}: what its layers keep is not counted here")
    count = _need(config, "num_hidden_layers")
    kinds = config.get("layer_types") or [_only_kind(config)] * count
    if not isinstance(kinds, Sequence) or len(kinds) != count:
        raise _layout(f"config.json: layer_types does not name {count} layers")
    made = {kind: _layer(config, str(kind), dtype) for kind in dict.fromkeys(kinds)}
    return [made[kind] for kind in kinds]


def _only_kind(config: Mapping[str, Any]) -> str:
    """Of a model without layer_types, such as Llama or Mistral."""
    return "sliding_attention" if config.get("sliding_window") else "full_attention"


def _layer(config: Mapping[str, Any], kind: str, dtype: str) -> Layer:
    if kind == "linear_attention":
        return _delta_net(config, dtype)
    if kind != "full_attention" and kind not in WINDOWS:
        raise _layout(f"config.json has a layer {kind!r}: what it keeps is not counted here")
    window = _need(config, WINDOWS[kind]) if kind in WINDOWS else None
    heads = _need(config, "num_attention_heads")
    if config.get("kv_lora_rank"):
        query = _need(config, "qk_nope_head_dim") + _need(config, "qk_rope_head_dim")
        return Layer(
            kind=kind,
            kv_heads=1,
            kv_elements=_need(config, "kv_lora_rank") + _need(config, "qk_rope_head_dim"),
            window=window,
            pair_flop=2 * heads * (query + _need(config, "v_head_dim")),
        )
    kept = config.get("num_key_value_heads") or heads
    if heads % kept:
        raise _layout(f"config.json: {kept} key-value heads for {heads} attention heads, which is no whole number each")
    head = config.get("head_dim") or _need(config, "hidden_size") // heads
    return Layer(
        kind=kind,
        kv_heads=kept,
        kv_elements=2 * head,
        window=window,
        pair_flop=4 * heads * head,
    )


def _delta_net(config: Mapping[str, Any], dtype: str) -> Layer:
    """Two multiply-adds an element of the state and token: one to write it, one to read it."""
    values, value = _need(config, "linear_num_value_heads"), _need(config, "linear_value_head_dim")
    key = _need(config, "linear_key_head_dim")
    mixed = 2 * _need(config, "linear_num_key_heads") * key + values * value
    state = values * value * key
    kept_in = str(config.get("mamba_ssm_dtype") or dtype)
    if kept_in not in BYTES:
        raise _layout(f"config.json: mamba_ssm_dtype = {kept_in!r}")
    return Layer(
        kind="linear_attention",
        state_bytes=mixed * (_need(config, "linear_conv_kernel_dim") - 1) * BYTES[dtype] + state * BYTES[kept_in],
        token_flop=4 * state,
    )


def _need(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value <= 0:
        raise _layout(f"config.json: {name} = {value!r} is no positive number")
    return value


def _layout(what: str) -> ConfigError:
    return ConfigError("model_layout", what, "measure it instead: mira-stream bench engine, then plan --run FILE")
