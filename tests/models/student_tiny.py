"""A student small enough to be trained within a test: 2 layers, 32 wide."""

from transformers import PreTrainedTokenizerFast

from mira_stream.distill.recipe import Recipe, Scratch, Training
from mira_stream.distill.tokenizer import train_tokenizer

RECIPE = Recipe(
    training=Training(passes=120, evaluate_every=100),
    scratch=Scratch(
        vocabulary=560,
        hidden=32,
        intermediate=64,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=16,
        batch_tokens=1024,
        row_step=64,
        compute="float32",
        learning_rate=2e-2,
        score_spread=0.0,
        word_loss=1.0,
    ),
)
TEXTS = [f"def f{i}(x):\n    return x + {i}  # adds {'some ' * i}\n" for i in range(8)]
TOML = """
[training]
passes = 1
evaluate_every = 2
[scratch]
vocabulary = 560
hidden = 32
intermediate = 64
layers = 2
heads = 2
kv_heads = 1
head_dim = 16
batch_tokens = 2048
row_step = 256
"""
"""A distill.toml of that size."""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, RECIPE.scratch.vocabulary)
