"""A student small enough to be trained within a test: 2 layers, 32 wide."""

from transformers import PreTrainedTokenizerFast

from mira_stream.distill.recipe import Recipe
from mira_stream.distill.tokenizer import train_tokenizer

RECIPE = Recipe(
    vocabulary=560,
    hidden=32,
    intermediate=64,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=16,
    batch_tokens=2048,
    row_step=256,
    learning_rate=2e-2,
    score_spread=0.0,
    word_loss=1.0,
    epochs=140,
)
TEXTS = [f"def f{i}(x):\n    return x + {i}  # adds {'some ' * i}\n" for i in range(8)]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, RECIPE.vocabulary)
