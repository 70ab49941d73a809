"""The hyper-parameters of every student: one recipe, the same for all groups (as in MIRA).

The demo's students were made by these commands, for each G of text, qa and agent (P = mira_stream/demo/project,
L = a file of labels outside the project; corpora are made on the spot, the teacher is the feature judge):

    mira-stream label       --project P --group G --labels L --documents 4000 --heldout 300 --cuts 2 --new-tokenizer
    mira-stream distill     --project P --group G --labels L --threads 1
    mira-stream reliability --project P --group G --labels L

About 16,000 replies on 8,000 documents a group; 8,500 tokens/s on one free core, so 8 to 12 minutes a group; on
two cores train two groups side by side, one thread each. What the corpora hold depends on the machine's Python
and packages, so that a repetition agrees in its measures, not in its bytes.
"""

from typing import Final

from msgspec import Struct


class Recipe(Struct, frozen=True, kw_only=True):
    """Architecture, optimisation and the share of the loss each kind of token carries."""

    vocabulary: int = 4096
    hidden: int = 256
    intermediate: int = 640
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64

    batch_tokens: int = 5120
    """Tokens of a batch, padding included, the shared prefix not."""
    row_step: int = 320
    """Rows are padded to a multiple of this (few shapes: each is compiled once)."""
    epochs: int = 1
    learning_rate: float = 4e-3
    warmup_share: float = 0.04
    weight_decay: float = 0.05
    beta2: float = 0.98
    clip: float = 1.0
    seed: int = 20

    score_loss: float = 1.0
    word_loss: float = 0.1
    score_spread: float = 0.6
    """Standard deviation, in points, of the target around a teacher's score: scores are ordered, words are not."""


RECIPE: Final = Recipe()
