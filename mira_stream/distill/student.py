"""The student: a small Qwen3-architecture decoder, and a forward pass made for training it on a CPU.

The forward pass computes what `Qwen3ForCausalLM` computes (a test compares both), but for many replies at once:
- the prompt's fixed beginning is run once a batch, not once a document;
- several replies may branch off one document, each at its own token, seeing nothing of the others;
- attention is written as two matrix products, which in bfloat16 on a CPU take a third of the fused kernel's time;
- weights are kept in float32 and cast at each use (autocast is six times slower on a CPU).
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

from mira_stream.distill.recipe import Scratch
from mira_stream.distill.tokenizer import POSITIONS_MAX, Vocabulary
from mira_stream.errors import ConfigError
from mira_stream.precision import fastest

EPSILON: Final = 1e-6


class Batch(NamedTuple):
    """`B` rows of `S` tokens behind a prefix of `P` tokens that all share.

    ids and positions [B, S]; visible [B, S, S]: which tokens of its row each token may see (all see the prefix).
    """

    prefix: Tensor
    ids: Tensor
    positions: Tensor
    visible: Tensor


def computed_in(scratch: Scratch) -> torch.dtype:
    """The precision that products are made in; weights are kept in float32."""
    return fastest() if scratch.compute == "auto" else getattr(torch, scratch.compute)


def new_student(recipe: Scratch, vocabulary: Vocabulary, seed: int) -> Qwen3ForCausalLM:
    """A student with random weights in float32 (tied embeddings). Raises ConfigError(vocabulary_small)."""
    if vocabulary.size > recipe.vocabulary:
        raise ConfigError(
            "vocabulary_small",
            f"[scratch] vocabulary = {recipe.vocabulary}, but the tokenizer that is there has {vocabulary.size} tokens",
            "put the vocabulary back, or make tokenizer and labels anew: label --new-tokenizer",
        )
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.head_dim,
        max_position_embeddings=POSITIONS_MAX,
        rms_norm_eps=EPSILON,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=vocabulary.end,
        pad_token_id=vocabulary.pad,
    )
    return Qwen3ForCausalLM(config)


def hidden_states(model: Qwen3ForCausalLM | Qwen3ForSequenceClassification, batch: Batch, dtype: torch.dtype) -> Tensor:
    """Last hidden states [B, S, hidden] of the batch's own tokens (the prefix's are not returned), made in `dtype`."""
    rows, length = batch.ids.shape
    prefix = len(batch.prefix)
    config = model.config
    # One flat list of tokens, prefix first: every linear layer is one matrix product.
    x = functional.embedding(torch.cat([batch.prefix, batch.ids.flatten()]), model.model.embed_tokens.weight.to(dtype))
    positions = torch.cat([torch.arange(prefix), batch.positions.flatten()])
    cos, sin = _rotations(positions, config.head_dim, _theta(config), x.dtype)
    causal = torch.full((prefix, prefix), float("-inf"), dtype=x.dtype).triu(1)
    hidden = torch.zeros(batch.visible.shape, dtype=x.dtype).masked_fill_(~batch.visible, float("-inf"))
    seen = torch.cat([torch.zeros((rows, length, prefix), dtype=x.dtype), hidden], dim=2)
    for layer in model.model.layers:
        attention = layer.self_attn
        y = _norm(x, layer.input_layernorm.weight)
        q = _heads(y, attention.q_proj.weight, attention.q_norm.weight, config.head_dim)
        k = _heads(y, attention.k_proj.weight, attention.k_norm.weight, config.head_dim)
        q, k = _rotate(q, cos, sin) * config.head_dim**-0.5, _rotate(k, cos, sin)
        v = _linear(y, attention.v_proj.weight).view(len(x), -1, config.head_dim)
        mixed = [_attend(q[:prefix][None], k[:prefix][None], v[:prefix][None], causal[None])] if prefix else []
        mixed.append(_attend(_fold(q, prefix, rows), _behind(k, prefix, rows), _behind(v, prefix, rows), seen))
        x = x + _linear(torch.cat(mixed), attention.o_proj.weight)
        y = _norm(x, layer.post_attention_layernorm.weight)
        gate, up = _linear(y, layer.mlp.gate_proj.weight), _linear(y, layer.mlp.up_proj.weight)
        x = x + _linear(functional.silu(gate) * up, layer.mlp.down_proj.weight)
    x = x[prefix:]
    return _norm(x, model.model.norm.weight).view(rows, length, -1)


def logits(model: Qwen3ForCausalLM, hidden: Tensor) -> Tensor:
    """Scores of every token of the vocabulary, float32."""
    return _linear(hidden, model.model.embed_tokens.weight).float()


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return functional.linear(x, weight.to(x.dtype))


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, weight.shape, weight.to(x.dtype), EPSILON)


def _theta(config: Qwen3Config) -> float:
    parameters = config.rope_parameters
    return float(parameters["rope_theta"])


def _heads(y: Tensor, weight: Tensor, norm: Tensor, head_dim: int) -> Tensor:
    return _norm(_linear(y, weight).view(len(y), -1, head_dim), norm)


def _rotations(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = positions.float()[:, None] * frequencies
    angles = torch.cat([angles, angles], dim=1)[:, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


def _fold(x: Tensor, prefix: int, rows: int) -> Tensor:
    return x[prefix:].unflatten(0, (rows, -1))


def _behind(x: Tensor, prefix: int, rows: int) -> Tensor:
    """The prefix's keys (or values) in front of every row's own."""
    return torch.cat([x[:prefix].expand(rows, *x[:prefix].shape), _fold(x, prefix, rows)], dim=1)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """q [R, S, heads, D], k and v [R, T, kv heads, D], bias [R or 1, S, T] -> [R * S, heads * D]."""
    rows, length, heads, dim = q.shape
    kv = k.shape[2]
    # Heads that share keys are stacked along the query axis: no key is ever copied.
    queries = q.view(rows, length, kv, heads // kv, dim).permute(0, 2, 3, 1, 4).reshape(rows * kv, -1, dim)
    keys = k.permute(0, 2, 3, 1).reshape(rows * kv, dim, -1)
    values = v.permute(0, 2, 1, 3).reshape(rows * kv, -1, dim)
    weights = torch.bmm(queries, keys).view(rows, heads, length, -1) + bias[:, None]
    mixed = torch.bmm(weights.softmax(-1).view(rows * kv, -1, weights.shape[-1]), values)
    return mixed.view(rows, heads, length, dim).transpose(1, 2).reshape(rows * length, heads * dim)
