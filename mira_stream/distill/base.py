"""A student from a base model: full-parameter supervised fine-tuning by trl's SFTTrainer, as MIRA's students were made.

The loss is next-token cross-entropy over the reply alone (`completion_only_loss`); the prompt is made by the base's
own chat template, thinking off, as the engine makes it. On several GPUs the command is started by accelerate with a
configuration file (deploy/distill), which shards weights, gradients and optimizer state (FSDP).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from mira_stream.distill.arguments import arguments, early_stopping
from mira_stream.distill.callbacks import Say
from mira_stream.distill.dataset import Lesson, no_labels, reply_text
from mira_stream.distill.labels import Label, Split
from mira_stream.distill.optimizer import LOWEST_SHARE
from mira_stream.distill.recipe import Recipe
from mira_stream.errors import ConfigError
from mira_stream.render import neutralise

THINKING_OFF: Final = {"enable_thinking": False}


class Prepared(NamedTuple):
    """A trainer that is ready to begin, and how many replies it learns from."""

    trainer: Any
    replies: int


def base_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Raises ConfigError(base_unreadable), or base_template_missing if it has no chat template."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _unreadable(model, error) from None
    if not tokenizer.chat_template:
        raise ConfigError(
            "base_template_missing", f"{model} has no chat template", "put its chat_template.jinja into the folder"
        )
    return tokenizer


def prepare(
    model: str,
    folder: Path,
    labels: Sequence[Label],
    lesson: Lesson,
    recipe: Recipe,
    callbacks: Sequence[TrainerCallback],
    say: Say,
) -> Prepared:
    """Raises ConfigError without a label to train on, or if the base cannot be read."""
    tokenizer = base_tokenizer(model)
    training, too_long = exchanges(labels, "distill", lesson, tokenizer)
    if not training:
        raise no_labels("distill", too_long)
    heldout = exchanges(labels, "heldout", lesson, tokenizer).rows
    sample = heldout[:: max(1, -(-len(heldout) // recipe.training.heldout_sample))]
    try:
        weights = AutoModelForCausalLM.from_pretrained(
            model, dtype=getattr(torch, recipe.base.weights), trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise _unreadable(model, error) from None
    _end_with(weights, training[0]["input_ids"][-1])
    say(
        f"from {model}: {weights.num_parameters() / 1e6:,.1f} M parameters, {len(training)} replies"
        + (f"; {too_long} labels are longer than the context and left out" if too_long else "")
    )
    trainer = SFTTrainer(
        model=weights,
        args=_config(folder, recipe, watched=bool(sample)),
        train_dataset=Dataset.from_list(training),
        eval_dataset=Dataset.from_list(sample) if sample else None,
        processing_class=tokenizer,
        callbacks=[*callbacks, *early_stopping(recipe, bool(sample))],
    )
    trainer.remove_callback(PrinterCallback)
    return Prepared(trainer, len(training))


class Exchanges(NamedTuple):
    """trl's rows of prompt and completion as token ids (`completion_mask`: 1 on the completion), and what was not
    taken because it does not fit the context."""

    rows: list[dict[str, list[int]]]
    too_long: int


def exchanges(labels: Sequence[Label], split: Split, lesson: Lesson, tokenizer: PreTrainedTokenizerBase) -> Exchanges:
    """Every label of a share as the ids the engine gives the student, and those of the reply up to its turn's end.

    Prompt and reply are made into tokens apart, as they are when the student is served: no token spans the two.
    Raises ConfigError(base_template_unfit).
    """
    found: list[dict[str, list[int]]] = []
    too_long = 0
    special = tuple(tokenizer.all_special_tokens)
    for label in labels:
        if label.split != split:
            continue
        messages = lesson.prompt.messages(neutralise(label.view, special))
        prompt, completion = _exchange(tokenizer, messages, reply_text(label, lesson))
        if len(prompt) + len(completion) > lesson.context_tokens:
            too_long += 1
            continue
        mask = [0] * len(prompt) + [1] * len(completion)
        found.append({"input_ids": prompt + completion, "completion_mask": mask})
    return Exchanges(found, too_long)


def _exchange(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], reply: str
) -> tuple[list[int], list[int]]:
    asked = {"add_generation_prompt": True, **THINKING_OFF}
    opened: str = tokenizer.apply_chat_template(messages, tokenize=False, **asked)
    said = [*messages, {"role": "assistant", "content": reply}]
    whole: str = tokenizer.apply_chat_template(said, tokenize=False, **THINKING_OFF)
    if not whole.startswith(opened + reply):
        raise ConfigError(
            "base_template_unfit",
            "the base's chat template writes a turn otherwise than it opens one (thinking off)",
            "use the chat template that the base's makers give for answers without thinking",
        )
    prompt: list[int] = tokenizer.apply_chat_template(messages, return_dict=True, **asked)["input_ids"]
    completion: list[int] = tokenizer(whole[len(opened) :].rstrip(), add_special_tokens=False)["input_ids"]
    if completion[-1] not in tokenizer.all_special_ids:
        completion = [*completion, tokenizer.eos_token_id]
    return prompt, completion


def accumulation(recipe: Recipe, processes: int) -> int:
    """Steps that a batch is gathered over. Raises ConfigError if it cannot be dealt out evenly."""
    at_once = recipe.base.device_replies * processes
    steps, left = divmod(recipe.base.batch_replies, at_once)
    if left or not steps:
        raise ConfigError(
            "batch_uneven",
            f"batch_replies = {recipe.base.batch_replies} is no multiple of {at_once}"
            f" (device_replies = {recipe.base.device_replies} on {processes} processes)",
            "change one of them in distill.toml, or the number of processes",
        )
    return steps


def _config(folder: Path, recipe: Recipe, *, watched: bool) -> SFTConfig:
    base, cuda = recipe.base, torch.cuda.is_available()
    config = SFTConfig(
        **arguments(folder, recipe, watched),
        num_train_epochs=recipe.training.passes,
        per_device_train_batch_size=base.device_replies,
        per_device_eval_batch_size=base.device_replies,
        learning_rate=base.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": LOWEST_SHARE},
        warmup_steps=recipe.training.warmup_share,
        weight_decay=recipe.training.weight_decay,
        adam_beta2=base.beta2,
        optim="adamw_torch",
        bf16=True,
        use_cpu=not cuda,
        gradient_checkpointing=base.gradient_checkpointing,
        completion_only_loss=True,
        max_length=None,  # what is too long was left out: nothing is cut
        packing=False,
        dataset_num_proc=None,
    )
    config.gradient_accumulation_steps = accumulation(recipe, config.world_size)
    return config


def _end_with(model: Any, token: int) -> None:
    """The engine stops where the taught replies end, besides where the base's own do."""
    ends = model.generation_config.eos_token_id or []
    known = [ends] if isinstance(ends, int) else list(ends)
    model.generation_config.eos_token_id = known if token in known else [token, *known]


def _unreadable(model: str, error: Exception) -> ConfigError:
    return ConfigError(
        "base_unreadable", f"{model}: {error}", "name a Hugging Face model folder in [base] model of distill.toml"
    )
