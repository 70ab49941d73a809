"""A student's folder: weights, tokenizer, how it was made. It is replaced as a whole or not at all."""

import ctypes
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM
from transformers.utils.logging import disable_progress_bar

from mira_stream.distill.tokenizer import load_tokenizer
from mira_stream.errors import ConfigError
from mira_stream.precision import fastest

TRAINER_STATE: Final = "trainer_state.json"
_HERE: Final = -100  # AT_FDCWD of fcntl.h
_EXCHANGE: Final = 2  # RENAME_EXCHANGE of linux/fs.h
disable_progress_bar()  # a few megabytes need none


class Making(NamedTuple):
    """What a student's config.json says of its origin, under "mira". `prompt`: sha256 of its templates."""

    teacher: str
    group: str
    rubric: str
    examples: int
    seconds: float
    base: str = ""
    layout: str = "scores_first"
    mode: str = "scores"
    prompt: str = ""
    known: dict[str, Any] | None = None
    """Of a head: tokens of a known prompt and its outputs (the scorer's probe)."""


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, sync it, then put it where `folder` is: readers see the old one or the new one."""
    folder = folder.resolve()
    staged = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    write(staged)
    for path in sorted(staged.rglob("*")):
        if path.is_file():
            path.chmod(0o644)  # weights are written for their owner only
        _sync(path)
    _sync(staged)
    if not folder.exists():
        staged.rename(folder)
    else:
        _exchange(staged, folder)
    _sync(folder.parent)
    shutil.rmtree(staged, ignore_errors=True)


def recover(folder: Path) -> None:
    """Tidy up after a process that was killed in `publish`."""
    folder = folder.resolve()
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():
        old.rename(folder)
    for leftover in (old, folder.with_name(f".{folder.name}.new")):
        shutil.rmtree(leftover, ignore_errors=True)


def write_model(folder: Path, model: Any, weights: dict[str, torch.Tensor], making: Making) -> None:
    """bfloat16 safetensors, config.json and, for a student that replies, a generation_config.json that is greedy. A
    weight that is another one's is written once."""
    model.config.mira = {name: value for name, value in making._asdict().items() if value is not None}
    model.config.use_cache = True  # the Trainer switches it off
    if model.can_generate():
        ends = {name: getattr(model.generation_config, name) or getattr(model.config, name, None) for name in _ENDS}
        model.generation_config = GenerationConfig(do_sample=False, **ends)
    tied = model.all_tied_weights_keys
    halves = {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
        if name not in tied
    }
    model.save_pretrained(str(folder), state_dict=halves)
    path = folder / "config.json"
    config = {**orjson.loads(path.read_bytes()), "dtype": "bfloat16"}  # of what is written, not of what was trained
    path.write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


_ENDS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")


def load_student(folder: Path) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """A student from scratch, computed in what this CPU is faster at. Raises ConfigError if the folder holds none."""
    try:
        tokenizer = load_tokenizer(folder)
        model = Qwen3ForCausalLM.from_pretrained(str(folder), dtype=torch.bfloat16, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError("student_invalid", f"{folder}: {error}", "train it: mira-stream distill --group G") from None
    if getattr(model.config, "mira", {}).get("base"):
        raise ConfigError(
            "student_served",
            f"{folder} was made from a base model and is only run by an engine",
            "measure it as it is served: mira-stream reliability --served",
        )
    return model.to(fastest()).eval(), tokenizer


def _exchange(staged: Path, folder: Path) -> None:
    """Swap two folders in one step, where the kernel and the file system can; else in two renames."""
    try:
        renamed = ctypes.CDLL(None).renameat2(_HERE, os.fsencode(staged), _HERE, os.fsencode(folder), _EXCHANGE) == 0
    except AttributeError:  # no glibc of Linux
        renamed = False
    if not renamed:
        old = folder.with_name(f".{folder.name}.old")
        folder.rename(old)
        staged.rename(folder)
        shutil.rmtree(old)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
