"""A student's folder: what is refused before anything of it is loaded, and what identifies it."""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from mira_stream.errors import ConfigError
from mira_stream.scoring.parameters import NotCounted, counted_parameters, expected_parameters

UNSAFE: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz", ".h5", ".msgpack")
"""Weights in formats that can run code when they are loaded, or that nobody asked for."""
IDENTITY: Final = (
    "*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)
"""Files that decide what a student answers. Training logs and cards are none of them."""
HEADER_BYTES_MAX: Final = 100 * 2**20
_LAYER: Final = re.compile(r"layers\.([0-9]+)\.")


def check_student(folder: Path, *, trust_remote_code: bool = False) -> list[str]:
    """What could not be checked, in words. Raises ConfigError: student_missing, student_incomplete, student_unsafe
    or student_invalid."""
    if not folder.is_dir():
        raise ConfigError(
            "student_missing",
            f"{folder} is no folder",
            "name a Hugging Face model folder in [groups.G] student (for mode head: mira-stream distill --head)",
        )
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in UNSAFE:
            raise ConfigError(
                "student_unsafe", f"{path} is not safetensors", "convert the weights to safetensors and remove it"
            )
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            raise ConfigError("student_incomplete", f"{folder} has no {name}", "copy the whole model folder")
    if not trust_remote_code:
        _refuse_code(folder)
    if not _has_chat_template(folder):
        raise ConfigError(
            "student_incomplete", f"{folder} has no chat template", "add chat_template.jinja: prompts are chat messages"
        )
    config, shapes = student_config(folder), _shapes(folder)
    _compare_index(folder, shapes)
    _compare(config, shapes, folder)
    return _compare_parameters(config, shapes, folder)


def student_config(folder: Path) -> dict[str, Any]:
    """config.json. Raises ConfigError(student_invalid)."""
    return _read_object(folder / "config.json")


def is_head(config: Mapping[str, Any]) -> bool:
    """Whether config.json is that of a regression head (or of a classifier, which `check_origin` then refuses)."""
    return any(str(one).endswith("ForSequenceClassification") for one in config.get("architectures") or ())


def student_sha256(folder: Path) -> str:
    """Hex sha256 over names and bytes of the files that decide what the student answers."""
    digest = sha256()
    for path in sorted({path for pattern in IDENTITY for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            inner = sha256()
            while block := file.read(2**20):
                inner.update(block)
        digest.update(f"{path.name}\0{inner.hexdigest()}\n".encode())
    return digest.hexdigest()


def _refuse_code(folder: Path) -> None:
    for path in sorted(folder.glob("*.json")):
        if b"auto_map" in path.read_bytes() and "auto_map" in _read_object(path):
            raise ConfigError(
                "student_unsafe",
                f"{path} asks for code of its own (auto_map)",
                "remove auto_map, or set trust_remote_code = true for the group if you have read that code",
            )


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    return bool(_read_object(folder / "tokenizer_config.json").get("chat_template"))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (orjson.JSONDecodeError, OSError) as error:
        raise _invalid(path, str(error)) from None
    if not isinstance(value, dict):
        raise _invalid(path, "no JSON object")
    return value


def _shapes(folder: Path) -> dict[str, list[int]]:
    """Shapes by tensor name, from the headers of all safetensors files."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ConfigError("student_incomplete", f"{folder} has no *.safetensors", "copy the whole model folder")
    shapes: dict[str, list[int]] = {}
    for path in files:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(HEADER_BYTES_MAX, path.stat().st_size):
                raise _invalid(path, "no safetensors header; the file may be cut off or a Git LFS pointer")
            try:
                header = orjson.loads(file.read(length))
                tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
                end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
                shapes |= {name: entry["shape"] for name, entry in tensors.items()}
            except (ValueError, AttributeError, KeyError, TypeError) as error:
                raise _invalid(path, f"unreadable safetensors header ({error})") from None
        if path.stat().st_size != 8 + length + end:
            raise _invalid(path, "the file is cut off: shorter or longer than its header says")
    return shapes


def _compare(config: dict[str, Any], shapes: dict[str, list[int]], folder: Path) -> None:
    """The weights must be those config.json speaks of."""
    text = config.get("text_config", config)
    layers, hidden, vocabulary = (text.get(key) for key in ("num_hidden_layers", "hidden_size", "vocab_size"))
    if not config.get("architectures") or not all(isinstance(n, int) and n > 0 for n in (layers, hidden, vocabulary)):
        raise _invalid(
            folder / "config.json", "architectures, num_hidden_layers, hidden_size and vocab_size must be there"
        )
    have = 1 + max((int(match[1]) for name in shapes if (match := _LAYER.search(name))), default=-1)
    if have != layers:
        raise _invalid(folder, f"config.json speaks of {layers} layers, the weights have {have}")
    for name, shape in shapes.items():
        if name.endswith("embed_tokens.weight") and shape != [vocabulary, hidden]:
            raise _invalid(folder, f"{name} is {shape}, config.json says {[vocabulary, hidden]}")


def _compare_index(folder: Path, shapes: dict[str, list[int]]) -> None:
    """The index of weights in several files names every tensor: one that is nowhere was not copied."""
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return
    named = _read_object(path).get("weight_map")
    if not isinstance(named, dict):
        raise _invalid(path, "no weight_map")
    missing = sorted(set(named) - set(shapes))
    if missing:
        raise _invalid(path, f"{len(missing)} tensors of the index are in no file, the first is {missing[0]}")


def _compare_parameters(config: dict[str, Any], shapes: dict[str, list[int]], folder: Path) -> list[str]:
    """Refuses weights with another number of parameters than config.json describes."""
    text = config.get("text_config", config)
    tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    counted = counted_parameters(shapes)
    try:
        expected = expected_parameters(config)
    except NotCounted as reason:
        least = text["vocab_size"] * text["hidden_size"]
        if counted < least:
            raise _invalid(
                folder, f"{counted:,} parameters, fewer than the {least:,} of the vocabulary alone"
            ) from None
        return [f"{folder.name}: the number of parameters was not compared with config.json: {reason}"]
    if counted != expected:
        raise _invalid(folder, f"the weights have {counted:,} parameters; config.json describes {expected:,}")
    if is_head(config):
        if not any(name == "score.weight" for name in shapes):
            raise _invalid(folder, "config.json speaks of a head, but there is no score.weight")
    elif not tied and not any(name.endswith("lm_head.weight") for name in shapes):
        raise _invalid(folder, "config.json speaks of an output projection of its own, but there is no lm_head.weight")
    return []


def _invalid(path: Path, what: str) -> ConfigError:
    return ConfigError("student_invalid", f"{path}: {what}", "fetch or train the student again")
