"""What a training would take: parameters, tokens, steps, and memory without and with FSDP over GPUs. Trains nothing.

Parameters are counted on the model that transformers builds from config.json, without its weights. Bytes of a device:

  weights, gradients   4 each a parameter (float32; 2 in bfloat16), optimizer state twice the weights (Adam's two
                       moments); FSDP divides all of them by the number of devices
  gathered             2 (bfloat16) a parameter of the largest layer, twice: the layer at work and the next one (FSDP)
  activations          with checkpointing 2 bytes a token and hidden unit for each layer, and one layer whole: 34 bytes
                       a token and hidden unit (Korthikanti et al. 2022, eq. 1, without attention scores), times how
                       much wider the layer's active parameters are than the 12 hidden^2 of the layer they counted
  logits               6 a token and vocabulary entry (bfloat16, and float32 for the loss), on the replies' device

An estimate to choose hardware by: fragmentation and libraries take some of a device, so RESERVED is kept free.
"""

import re
from typing import Any, Final

import torch
from msgspec import Struct
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from mira_stream.distill.recipe import Base, Recipe
from mira_stream.errors import ConfigError

GIB: Final = 2**30
RESERVED: Final = 0.1
_LAYER: Final = re.compile(r"\blayers\.([0-9]+)\.")
_EXPERTS: Final = re.compile(r"\bexperts\.")


class Shape(Struct, frozen=True, kw_only=True):
    """A model's size. `active`: parameters that one token meets (of the experts, those it is routed to)."""

    parameters: int
    active: int
    layers: int
    layer_parameters: int
    """Of the largest layer."""
    layer_active: int
    hidden: int
    vocabulary: int


class Memory(Struct, frozen=True, kw_only=True):
    """GiB of one device."""

    devices: int
    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    logits: float
    total: float
    fits: bool


class Work(Struct, frozen=True, kw_only=True):
    """What is gone through. `tokens_estimated`: by characters, without the base's tokenizer."""

    replies: int
    tokens: int
    reply_tokens: int
    longest_tokens: int
    passes: int
    steps: int
    tokens_estimated: bool


def shape_of(model: str) -> Shape:
    """Sizes of a model folder's (or name's) config.json; its weights are not needed. Raises ConfigError."""
    return shape_of_config(read_config(model), model)


def read_config(model: str) -> PreTrainedConfig:
    """config.json of a folder or name, with the defaults of its class; code that lies beside it is never run. Raises
    ConfigError(base_unreadable, base_code)."""
    try:
        return AutoConfig.from_pretrained(model, trust_remote_code=False)
    except Exception as error:  # a stranger's file: transformers raises whatever it trips over
        if "trust_remote_code" in str(error):
            raise ConfigError(
                "base_code",
                f"{model}: its config.json names code of its own (auto_map), which is not run here",
                "name a folder of a model that transformers knows without it",
            ) from None
        raise _unreadable(model, error) from None


def shape_of_config(config: PreTrainedConfig, name: str) -> Shape:
    """Sizes of the model that transformers builds of it. Raises ConfigError(base_unreadable)."""
    try:
        with torch.device("meta"):
            built = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        text: PreTrainedConfig = config.get_text_config()
        return count({name: weight.numel() for name, weight in built.named_parameters()}, routed_share(text), text)
    except Exception as error:  # a stranger's numbers: no such model can be built of them
        raise _unreadable(name, error) from None


def _unreadable(model: str, error: Exception) -> ConfigError:
    said = " ".join(str(error).split())
    return ConfigError(
        "base_unreadable", f"{model}: {said}", "name a folder with a config.json that transformers knows"
    )


def count(sizes: dict[str, int], routed: float, text: Any) -> Shape:
    """The shape of parameters by name; `routed`: the share of the experts that a token is sent to. Raises ValueError
    where no layer is among them."""
    layers: dict[int, list[float]] = {}
    active = 0.0
    for name, size in sizes.items():
        met = size * routed if _EXPERTS.search(name) else size
        active += met
        if match := _LAYER.search(name):
            layer = layers.setdefault(int(match[1]), [0.0, 0.0])
            layer[0] += size
            layer[1] += met
    if not layers:
        raise ValueError("none of its parameters is named as a layer's, .layers.N.")
    whole, largest = max(layer[0] for layer in layers.values()), max(layer[1] for layer in layers.values())
    return Shape(
        parameters=sum(sizes.values()),
        active=round(active),
        layers=len(layers),
        layer_parameters=round(whole),
        layer_active=round(largest),
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
    )


def memory(shape: Shape, base: Base, tokens: int, devices: int, device_gib: float) -> Memory:
    """Of one device, with `tokens` of one reply (prompt included) and `devices` sharing by FSDP (1: no sharing)."""
    kept = 4 if base.weights == "float32" else 2
    at_once = tokens * base.device_replies
    share = shape.parameters / devices
    layer = 34 * at_once * shape.hidden * max(1.0, shape.layer_active / (12 * shape.hidden**2))
    between = 2 * at_once * shape.hidden * shape.layers
    parts = {
        "weights": kept * share,
        "gradients": kept * share,
        "optimizer": 2 * kept * share,
        "gathered": 4 * shape.layer_parameters if devices > 1 else 0,
        "activations": between + layer if base.gradient_checkpointing else layer * shape.layers,
        "logits": 6 * at_once * shape.vocabulary,
    }
    total = sum(parts.values())
    rounded = {name: round(value / GIB, 2) for name, value in parts.items()}
    fits = total <= device_gib * GIB * (1 - RESERVED)
    return Memory(devices=devices, total=round(total / GIB, 2), fits=fits, **rounded)


def work(lengths: list[tuple[int, int]], recipe: Recipe, *, estimated: bool) -> Work:
    """Of a base model's training; `lengths`: tokens of prompt and of reply, one a label."""
    updates = -(-len(lengths) // recipe.base.batch_replies)
    return Work(
        replies=len(lengths),
        tokens=sum(prompt + reply for prompt, reply in lengths) * recipe.training.passes,
        reply_tokens=sum(reply for _, reply in lengths) * recipe.training.passes,
        longest_tokens=max((prompt + reply for prompt, reply in lengths), default=0),
        passes=recipe.training.passes,
        steps=updates * recipe.training.passes,
        tokens_estimated=estimated,
    )


def routed_share(text: PreTrainedConfig) -> float:
    """The share of a layer's experts that a token is sent to; 1 where there are none. Raises ValueError above it."""
    experts = next((n for name in _EXPERT_COUNTS if (n := getattr(text, name, None))), None)
    chosen = getattr(text, "num_experts_per_tok", None)
    if experts and chosen and chosen > experts:
        raise ValueError(f"a token goes to {chosen} of {experts} experts")
    return chosen / experts if experts and chosen else 1.0


_EXPERT_COUNTS: Final = ("num_experts", "num_local_experts", "n_routed_experts")
