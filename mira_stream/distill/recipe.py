"""The hyper-parameters of every student: one file, `distill.toml` of the project, the same for all groups (as in MIRA).

A key that is not in the file has the value the demo's students were made with, so the demo has no such file: `make
demo-project` trains them on about 8,000 replies a group. What the corpora hold depends on the machine's Python and
packages, so that a repetition agrees in its measures, not in its bytes.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from mira_stream.errors import ConfigError

FILE_NAME: Final = "distill.toml"
Positive = Annotated[int, Meta(gt=0)]
Rate = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tables of distill.toml."""


class Training(Section, frozen=True, kw_only=True):
    """What both starting points share."""

    passes: Positive = 1
    """How often the labels are gone through."""
    warmup_share: Share = 0.04
    weight_decay: Annotated[float, Meta(ge=0)] = 0.05
    clip: Rate = 1.0
    seed: Annotated[int, Meta(ge=0)] = 20
    evaluate_every: Positive = 100
    """Steps between measurements on held-out labels; a checkpoint is written at each."""
    patience: Positive = 5
    """So many measurements without a lower held-out loss end the training; the best checkpoint is the student."""
    heldout_sample: Positive = 128
    """Held-out labels that a training is watched by, at most."""


class Scratch(Section, frozen=True, kw_only=True):
    """A student from random weights: architecture, batches, and the share of the loss each kind of token carries."""

    vocabulary: Positive = 4096
    hidden: Positive = 256
    intermediate: Positive = 640
    layers: Positive = 4
    heads: Positive = 4
    kv_heads: Positive = 2
    head_dim: Positive = 64

    batch_tokens: Positive = 5120
    """Tokens of a batch, padding included, the shared prefix not."""
    row_step: Positive = 320
    """Rows are padded to a multiple of this (few shapes: each is compiled once)."""
    learning_rate: Rate = 4e-3
    beta2: Share = 0.98
    compute: Literal["auto", "bfloat16", "float32"] = "auto"
    """What products are computed in: auto takes what this CPU is faster at. Weights are kept in float32."""

    score_loss: float = 1.0
    word_loss: float = 0.1
    score_spread: Annotated[float, Meta(ge=0)] = 0.6
    """Standard deviation, in points, of the target around a teacher's score: scores are ordered, words are not."""


class Head(Section, frozen=True, kw_only=True):
    """A regression head on a student from scratch; batches and precision are those of `scratch`."""

    passes: Positive = 2
    """How often the labels are gone through."""
    learning_rate: Rate = 1e-3
    unreliable_weight: Annotated[float, Meta(ge=0, le=1)] = 0.25
    """What a cell (source, dimension) weighs in the loss that the student it begins with is not reliable in."""
    huber: Rate = 1.0
    """Points beyond which an error counts linearly and not squared."""


class Base(Section, frozen=True, kw_only=True):
    """A student from a base model: full-parameter fine-tuning in bfloat16 (no `model`: from random weights)."""

    model: str = ""
    """A Hugging Face model folder (relative to the project) or a name."""
    learning_rate: Rate = 1e-5
    beta2: Share = 0.95
    batch_replies: Positive = 64
    """Replies of an update, over all GPUs: the same however many there are."""
    device_replies: Positive = 1
    """Replies a GPU holds at a time; the rest of a batch is accumulated."""
    weights: Literal["float32", "bfloat16"] = "float32"
    """How weights, gradients and optimizer state are kept; products are computed in bfloat16 either way."""
    gradient_checkpointing: bool = True
    accelerate: str = ""
    """An accelerate configuration (FSDP over GPUs), relative to the project; deploy/distill has examples."""


class Recipe(Section, frozen=True, kw_only=True):
    """All of distill.toml."""

    training: Training = Training()
    scratch: Scratch = Scratch()
    head: Head = Head()
    base: Base = Base()


def load_recipe(root: Path) -> Recipe:
    """Read `root`/distill.toml; without that file, the demo's recipe. Raises ConfigError(recipe_invalid)."""
    path = root / FILE_NAME
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Recipe, strict=True)
    except FileNotFoundError:
        return Recipe()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "recipe_invalid", f"{path}: {error}", "correct that key; mira_stream/distill/recipe.py lists all"
        ) from None


def base_path(root: Path, recipe: Recipe) -> str:
    """The base model's folder under the project, else its name as it stands; empty from scratch."""
    if not recipe.base.model:
        return ""
    local = root / recipe.base.model
    return str(local) if local.is_dir() else recipe.base.model
