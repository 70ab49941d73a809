"""A language model small enough to be asked within a test: random, with a context of 64 tokens."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.models.student_tiny import tiny_tokenizer


def save_language_model(folder: Path) -> None:
    """Write model and tokenizer, always the same."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
