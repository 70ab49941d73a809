"""The edge of planning: a model folder's config.json, read by transformers, and the size of its weights."""

import re
from math import prod
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedConfig

from mira_stream.distill.plan import Shape, read_config, routed_share, shape_of_config
from mira_stream.errors import ConfigError, UsageError
from mira_stream.planning.config_file import check_config
from mira_stream.planning.layers import BYTES, layers_of
from mira_stream.planning.model import Model

PLANNED: Final = ("bfloat16", "float16")
DEFAULT: Final = "bfloat16"
WIDTHS: Final = {
    "BF16": 2,
    "F16": 2,
    "F32": 4,
    "F64": 8,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "I32": 4,
    "I64": 8,
}
"""Bytes of an element, by safetensors' names."""
SCALED: Final = ("linear", "dynamic")
"""Rope scalings whose factor vLLM multiplies max_position_embeddings with."""
_MTP: Final = re.compile(r"(^|\.)mtp\.")


def read_model(folder: str, dtype: str | None = None) -> Model:
    """A model folder; its weights need not be there. `dtype`: other than config.json says. Raises ConfigError
    (base_unreadable, base_code, weights_unreadable, model_layout, model_quantised) or UsageError(plan_dtype)."""
    check_config(Path(folder))
    config = read_config(folder)
    said = _dtype(config)
    weights = weights_size(Path(folder), tied=_tied(config)) if dtype in (None, said) else 0
    return _model(config, folder, dtype or said, weights)


def base_model(layout: str, name: str, served_tokens: int, dtype: str | None = None) -> Model:
    """A model whose sizes are the defaults of transformers' class `layout`, which say nothing of the context of a
    release: `served_tokens` is that which its students' card serves. Raises as `read_model` does."""
    found = _model(AutoConfig.for_model(layout), name, dtype or DEFAULT, 0)
    return replace(found, context_tokens=served_tokens, context_by="as the released students are served")


def weights_size(folder: Path, *, tied: bool) -> int:
    """Bytes of the tensors in the folder's safetensors files, by their headers; 0 where there are none. What vLLM does
    not load is left out: the output projection of a tied model, prediction heads for further tokens. Raises
    ConfigError(weights_unreadable)."""
    return sum(_file_size(path, tied=tied) for path in folder.glob("*.safetensors"))


def _file_size(path: Path, *, tied: bool) -> int:
    total = 0
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                if not _MTP.search(name) and not (tied and name.endswith("lm_head.weight")):
                    part = file.get_slice(name)
                    total += prod(part.get_shape()) * WIDTHS[part.get_dtype()]
    except (SafetensorError, OSError) as error:
        raise ConfigError("weights_unreadable", f"{path}: {error}", "copy the file there again, whole") from None
    except KeyError as error:
        raise ConfigError(
            "weights_unreadable",
            f"{path}: elements of type {error} are not counted here",
            "measure it instead: mira-stream bench engine, then plan --run FILE",
        ) from None
    return total


def _tied(config: PreTrainedConfig) -> bool:
    text = config.get_text_config()
    return bool(getattr(config, "tie_word_embeddings", False) or getattr(text, "tie_word_embeddings", False))


def _dtype(config: PreTrainedConfig) -> str:
    found = config.get_text_config().dtype or config.dtype
    return str(found).removeprefix("torch.") if found else DEFAULT


def _model(config: PreTrainedConfig, name: str, dtype: str, weights: int) -> Model:
    text = config.get_text_config()
    if getattr(config, "quantization_config", None):
        raise ConfigError(
            "model_quantised",
            f"{name} is quantised: neither its bytes nor its speed follow from config.json",
            "measure it instead: mira-stream bench engine, then plan --run FILE",
        )
    if dtype not in PLANNED:
        raise UsageError(
            "plan_dtype", f"no GPU's peak is known for {dtype}", f"use --dtype {' or --dtype '.join(PLANNED)}"
        )
    layers = layers_of(text.to_dict(), dtype)
    shape, routed = shape_of_config(config, name), routed_share(text)
    tied = _tied(config)
    vocabulary = shape.vocabulary * shape.hidden
    return Model(
        name=name,
        dtype=dtype,
        element_bytes=BYTES[dtype],
        layers=layers,
        parameters=shape.parameters,
        weights_bytes=weights or shape.parameters * BYTES[dtype],
        weights_by="the safetensors files" if weights else f"{shape.parameters:,} parameters in {dtype}",
        body=shape.active - vocabulary * (1 if tied else 2),
        output=vocabulary,
        attention_heads=text.num_attention_heads,
        expert_share=_expert_share(shape, routed),
        routed=routed,
        unread_bytes=0 if tied else vocabulary * BYTES[dtype],
        context_tokens=_context(text),
    )


def _context(text: PreTrainedConfig) -> int | None:
    """Tokens of the longest sequence that vLLM takes: max_position_embeddings, times the factor of a rope scaling that
    does not have it in them yet. None where config.json does not say."""
    most = getattr(text, "max_position_embeddings", None)
    if not isinstance(most, int) or most <= 0:
        return None
    rope: Any = getattr(text, "rope_parameters", None) or {}
    parts = [rope] if "rope_type" in rope else [part for part in rope.values() if isinstance(part, dict)]
    return int(most * max([1.0, *(part.get("factor") or 1.0 for part in parts if part.get("rope_type") in SCALED)]))


def _expert_share(shape: Shape, routed: float) -> float:
    """parameters = dense + experts, active = dense + routed x experts."""
    return (shape.parameters - shape.active) / (1 - routed) / shape.parameters if routed < 1 else 0.0
