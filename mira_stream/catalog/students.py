"""Reads students.json. An unknown name is refused; what is not public is null and listed by `unknown`."""

from importlib import resources
from typing import Final

import msgspec
from msgspec import Struct

from mira_stream.errors import UsageError
from mira_stream.messages import Layout, Mode
from mira_stream.sections import Family

FILE: Final = "students.json"


class CatalogSource(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    description: str | None = None


class CatalogSlot(Struct, frozen=True, forbid_unknown_fields=True):
    slot: str
    name: str
    cluster_size: int


class Serving(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the card of the student `card` serves it, and samples from it. `trust_remote_code`: the card's own flag,
    which no project of ours takes over unless asked."""

    card: str
    tensor_parallel_size: int
    dtype: str
    gpu_memory_utilization: float
    context_tokens_max: int
    max_num_batched_tokens: int
    temperature: float
    top_p: float
    reply_tokens_max: int
    layout: Layout
    mode: Mode
    trust_remote_code: bool


class Figures(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the card of `Serving` says of memory: weights, the KV cache that they leave, and how many sequences of
    `sequence_tokens` that holds, a GPU; documents of up to `document_tokens`."""

    gpu: str
    gpus: int
    weights_gb: float
    cache_gb: float
    sequence_tokens: int
    sequences: int
    document_tokens: int


class Student(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One released student. `group`: the authors' name of its group, which names one only within its family.

    `records`: judged by the teacher. `sources` are those the card names; `sources_count` may be more.
    `similarity`: mean cosine within the group. `repository`: the model's name for vLLM.
    """

    name: str
    family: Family
    group: str | None
    domain: str | None
    sources: list[CatalogSource]
    sources_count: int | None
    records: int | None
    similarity: float | None
    prompt_family: str | None
    licence: str | None
    repository: str | None
    slots: list[CatalogSlot] | None

    @property
    def unknown(self) -> list[str]:
        """What the public cards do not tell."""
        named = ("group", "domain", "sources_count", "records", "licence", "repository", "slots")
        found = [name for name in named if getattr(self, name) is None]
        if self.sources_count is None or len(self.sources) < self.sources_count:
            found.append(f"sources ({len(self.sources)} of {self.sources_count or 'an unknown number'} named)")
        return [*found, "anchor descriptions and examples", "prompt template"]


class Catalog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All students share teacher, base model and training; `serving` and `figures` are of one card, the others' base
    is the same. `base_layout`: transformers' name of the base's class, whose defaults are the base's sizes."""

    paper: str
    teacher: str
    base_model: str
    base_layout: str
    serving: Serving
    figures: Figures
    students: list[Student]


def load_catalog() -> Catalog:
    """The catalog of this package."""
    return msgspec.json.decode(resources.files(__package__).joinpath(FILE).read_bytes(), type=Catalog)


def find(catalog: Catalog, name: str) -> Student:
    """Raises UsageError(student_unknown)."""
    for student in catalog.students:
        if student.name == name.lower():
            return student
    known = ", ".join(student.name for student in catalog.students)
    raise UsageError("student_unknown", f"the catalog has no student {name!r}", f"use one of {known}")


def serve_line(student: Student, serving: Serving) -> str | None:
    """The command that serves it behind an OpenAI-compatible endpoint; None while the model's name is not known."""
    if student.repository is None:
        return None
    return (
        f"vllm serve {student.repository} --tensor-parallel-size {serving.tensor_parallel_size} --dtype {serving.dtype}"
        f" --max-model-len {serving.context_tokens_max} --max-num-batched-tokens {serving.max_num_batched_tokens}"
        f" --gpu-memory-utilization {serving.gpu_memory_utilization:g}"
    )
