"""What both starting points ask of the Trainer: the same recipe, checkpoints, measurements and early stopping."""

from pathlib import Path
from typing import Any, Final

from transformers import EarlyStoppingCallback, TrainerCallback

from mira_stream.distill.callbacks import LastMeasurement
from mira_stream.distill.recipe import Recipe

LOG_EVERY: Final = 20
CHECKPOINTS: Final = 2


def arguments(folder: Path, recipe: Recipe, watched: bool) -> dict[str, Any]:
    """Keywords of TrainingArguments. `watched`: there are held-out labels, so that the best checkpoint is known."""
    every = recipe.training.evaluate_every
    return {
        "output_dir": str(folder),
        "seed": recipe.training.seed,
        "max_grad_norm": recipe.training.clip,
        "logging_steps": min(LOG_EVERY, every),
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": CHECKPOINTS,
        "restore_callback_states_from_checkpoint": True,
        "eval_strategy": "steps" if watched else "no",
        "eval_steps": every,
        "load_best_model_at_end": watched,
        "metric_for_best_model": "eval_loss" if watched else None,
        "greater_is_better": False,
        "report_to": [],
        "disable_tqdm": True,
        "log_level": "error",
    }


def early_stopping(recipe: Recipe, watched: bool) -> list[TrainerCallback]:
    """Callbacks that end a training when its held-out loss falls no more."""
    return [LastMeasurement(), EarlyStoppingCallback(recipe.training.patience)] if watched else []
