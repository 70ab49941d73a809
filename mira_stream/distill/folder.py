"""A student's folder: weights, tokenizer, how it was made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM
from transformers.utils.logging import disable_progress_bar

from mira_stream.distill.recipe import Recipe
from mira_stream.distill.tokenizer import load_tokenizer, save_tokenizer
from mira_stream.distill.train import Progress
from mira_stream.errors import ConfigError

TRAINER_STATE: Final = "trainer_state.json"
disable_progress_bar()  # a few megabytes need none


class Making(NamedTuple):
    """What a student's config.json says of its origin, under "mira"."""

    teacher: str
    group: str
    rubric: str
    examples: int
    seconds: float


def save_student(
    folder: Path,
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    making: Making,
    recipe: Recipe,
    log: Sequence[dict[str, float]],
) -> None:
    """Write bfloat16 safetensors, config.json, generation_config.json, the tokenizer and trainer_state.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.mira = making._asdict()
    ends = {"eos_token_id": model.config.eos_token_id, "pad_token_id": model.config.pad_token_id}
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    model.to(torch.bfloat16).save_pretrained(str(folder))
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)  # they are written for their owner only
    save_tokenizer(tokenizer, folder)
    last = log[-1] if log else {}
    state: dict[str, Any] = {
        "global_step": int(last.get("step", 0)),
        "max_steps": int(last.get("step", 0)),
        "epoch": recipe.epochs,
        "num_train_epochs": recipe.epochs,
        "log_history": list(log),
        "recipe": {name: getattr(recipe, name) for name in recipe.__struct_fields__},
    }
    (folder / TRAINER_STATE).write_bytes(orjson.dumps(state, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def load_student(folder: Path) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """The model in bfloat16, ready to be run. Raises ConfigError if the folder holds none."""
    try:
        model = Qwen3ForCausalLM.from_pretrained(str(folder), dtype=torch.bfloat16, local_files_only=True)
        return model.eval(), load_tokenizer(folder)
    except (OSError, ValueError) as error:
        raise ConfigError("student_invalid", f"{folder}: {error}", "train it: mira-stream distill --group G") from None


def log_entry(progress: Progress, measured: dict[str, float]) -> dict[str, float]:
    """A line of trainer_state.json's log_history."""
    return {
        "step": progress.step,
        "epoch": progress.step / progress.steps,
        "loss": round(progress.loss, 4),
        "score_loss": round(progress.score_loss, 4),
        "word_loss": round(progress.word_loss, 4),
        "learning_rate": progress.learning_rate,
        "grad_norm": round(progress.gradient_norm, 4),
        "tokens_per_s": round(progress.tokens_per_s),
        "seconds": round(progress.seconds, 1),
        **measured,
    }
