"""GPUs as their data sheets describe them (gpus.json)."""

from importlib import resources
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from mira_stream.errors import UsageError

FILE: Final = "gpus.json"
GB: Final = 10**9
Above = Annotated[float, Meta(gt=0)]


class Gpu(Struct, frozen=True, forbid_unknown_fields=True):
    """`bf16_tflops`: dense, the peak of 10^12 floating point operations a second."""

    name: str
    memory_gb: Above
    bandwidth_gb_per_s: Above
    bf16_tflops: Above
    source: str


def load_gpus() -> dict[str, Gpu]:
    """The GPUs this package knows, by name."""
    return msgspec.json.decode(resources.files(__package__).joinpath(FILE).read_bytes(), type=dict[str, Gpu])


def find_gpu(name: str) -> Gpu:
    """Raises UsageError(gpu_unknown)."""
    known = load_gpus()
    if name not in known:
        raise UsageError("gpu_unknown", f"no figures of a GPU {name!r}", f"use one of {', '.join(known)}")
    return known[name]
