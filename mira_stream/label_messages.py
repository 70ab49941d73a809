"""The messages of labels: what a teacher says of documents that were scored."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from mira_stream.messages import DIMENSIONS, REASONS, CardPosition, Origin, Score, Verdict, Wire

LABEL_REASONS: Final = (*REASONS, "content_deleted", "content_missing", "content_differs", "other_lineage")
"""Why a document of the watch may have no teacher's scores."""


class Inclusion(Struct, frozen=True, kw_only=True):
    """With which probability each arm of the watch takes a decision; a document is in one arm at most."""

    uniform: float
    near: float

    @property
    def total(self) -> float:
        return self.uniform + self.near


class TeacherLabel(Wire, frozen=True, kw_only=True, tag="teacher_label.v1"):
    """A scored document that went to the teacher, too. `scores` is the teacher's; null with a `reason` if there is no
    answer that can be read. `decided` is where its Decision stands, `decided_ms` that record's timestamp (0 in labels
    from before this field); `dimensions_used` made its quality."""

    id: str
    source: str
    group: str
    origin: Origin
    decided: CardPosition
    decided_ms: int = 0
    lineage: str
    mask: str
    arm: Literal["uniform", "near"]
    inclusion: Inclusion
    teacher: str
    dimensions_used: list[str]
    student_scores: Annotated[list[float | None], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]
    scores: Annotated[list[Score | None], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)] | None = None
    overall: float | None = None
    recommendation: Verdict | None = None
    reason: str | None = None
    error: str = ""
    attempts: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    event_time_ms: int = 0


LABEL_MESSAGES: Final[tuple[type[Wire], ...]] = (TeacherLabel,)
