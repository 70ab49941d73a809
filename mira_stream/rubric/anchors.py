"""The rubric file of a source group: a header line, then one line a slot (MIRA, "dim_anchors")."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import Struct

from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS, M, Wire

CALIBRATION_ANCHORS: Final = 12
"""The top anchors whose canonical examples make up the system prompt (MIRA model card)."""


Part = Literal["think", "combined", "answer"]
PART_ANCHORS: Final = 5
"""Of each part in a rubric of documents with thinking (MIRA, prompt family `qa_with_think`)."""


_encoder: Final = msgspec.json.Encoder()


class Example(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A canonical example: the score a teacher gave and its reason."""

    score: float
    reason: str
    document_id: str | None = None


class Anchor(Wire, frozen=True, kw_only=True, tag="anchor.v1"):
    """`part`: what of a document with thinking it judges; all fifteen have one, or none has."""

    slot: str
    name: str
    description: str
    examples: list[Example]
    cluster_size: int | None = None
    runner_up_names: list[str] = msgspec.field(default_factory=list)
    part: Part | None = None


class RubricHeader(Wire, frozen=True, kw_only=True, tag="rubric.v1"):
    group: str
    teacher: str
    created_by: str
    seed: int | None = None
    embedding: str | None = None
    sample: dict[str, Any] | None = None
    name_rule: str | None = None
    scope: str | None = None


class Rubric(Struct, frozen=True):
    """Fifteen anchors in slot order; `version` is the first 12 hex of the file's sha256."""

    header: RubricHeader
    anchors: tuple[Anchor, ...]
    version: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(anchor.name for anchor in self.anchors)


def load_rubric(path: Path) -> Rubric:
    """Read a rubric file. Raises ConfigError naming the line that is wrong."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        of = f"--group {path.stem} --project {path.parent.parent}"
        fix = f"make it: mira-stream rubric discover {of}; or take one over: mira-stream rubric import FILE {of}"
        raise ConfigError("rubric_missing", f"{path} does not exist", fix) from None
    lines = data.splitlines()
    header = _decoded(path, lines, 1, RubricHeader)
    anchors = tuple(_decoded(path, lines, number, Anchor) for number in range(2, len(lines) + 1))
    if tuple(anchor.slot for anchor in anchors) != SLOTS:
        raise ConfigError("rubric_invalid", f"{path}: slots must be A1..A15 in order", "one line a slot, in order")
    check_parts(anchors, str(path))
    return Rubric(header, anchors, sha256(data).hexdigest()[:12])


def write_rubric(header: RubricHeader, anchors: Sequence[Anchor]) -> bytes:
    """The rubric file's bytes: a header line, then one line a slot. Their hash is the rubric's version."""
    return b"".join(_encoder.encode(line) + b"\n" for line in (header, *anchors))


def check_parts(anchors: Sequence[Anchor], where: str) -> None:
    """Raises ConfigError unless the anchors have no parts, or five of each."""
    counts = Counter(anchor.part for anchor in anchors)
    if counts.keys() != {None} and any(counts[part] != PART_ANCHORS for part in get_args(Part)):
        said = ", ".join(f"{count} {part or 'without'}" for part, count in counts.items())
        raise ConfigError(
            "rubric_invalid",
            f"{where}: parts of the anchors: {said}",
            "five think, five combined, five answer, or none",
        )


def _decoded(path: Path, lines: list[bytes], number: int, kind: type[M]) -> M:
    try:
        return msgspec.json.decode(lines[number - 1] if lines else b"", type=kind)
    except msgspec.DecodeError as error:
        fix = (
            "a header line {schema rubric.v1, group, teacher, created_by}, then one line {schema anchor.v1, ...} a slot"
        )
        raise ConfigError("rubric_invalid", f"{path}:{number}: {error}", fix) from None
