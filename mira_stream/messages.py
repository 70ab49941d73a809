"""The messages on the wire: frozen structs, JSON, each with its schema's name as tag.

Rules of evolution: a field may be added with a default; no field changes its type or meaning; another
meaning is another tag (`document.v2`). Readers ignore fields they do not know. Decision, Epoch, SourceState,
Policy and Mask hold no wall clock and no owner's name: the record's own timestamp says when.
"""

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

GROUP_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,39}\Z"
SOURCE_PATTERN: Final = r"^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"
DIMENSIONS: Final = 15
SLOTS: Final = tuple(f"A{i}" for i in range(1, DIMENSIONS + 1))

Verdict = Literal["keep", "downsample", "drop"]
View = Literal["whole", "head", "head_tail"]
SpokenMode = Literal["rationale", "scores", "expected"]
StageMode = Literal[SpokenMode, "head"]
"""How much a student says of one document."""
Mode = Literal[StageMode, "cascade"]
"""`cascade`: a cheap stage judges all documents, a full one those near a threshold; each has a StageMode."""
Layout = Literal["scores_first", "interleaved"]
Unit = Literal["documents", "tokens"]
Sent = Literal["sure", "near", "unread", "no_threshold", "uncalibrated"]
"""Why a cascade's cheap scores stand (`sure`), or why the full stage was asked, too."""
Score = Annotated[float, Meta(ge=0, le=10)]
Fifteen = Annotated[list[float], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]

REASONS: Final = (
    "invalid_json",
    "invalid_utf8",
    "invalid_document",
    "unknown_source",
    "wrong_group",
    "wrong_format",
    "empty_document",
    "too_large",
    "too_long",
    "content_mismatch",
    "reply_unreadable",
    "engine_refused",
    "no_reliable_score",
    "invalid_card",
)
"""Why a document may end as a dead letter."""


class Wire(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema"):
    """Base of all messages."""


class Origin(Struct, frozen=True, kw_only=True):
    """Where a document stands in the log: this, not its id, is its identity."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Ref(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a document came from: file or URL, and the row or byte in it."""

    uri: str
    etag: str = ""
    row: int | None = None
    byte: int | None = None


class ToolCall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`arguments` is the text the agent wrote, valid JSON or not."""

    name: str
    arguments: str = ""


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    role: str
    content: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] = []


class Parts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    question: str
    answer: str
    think: str | None = None


class Document(Wire, frozen=True, kw_only=True, tag="document.v1"):
    """One unit of corpus; exactly one of text, messages and parts (or none, with content at `ref`)."""

    id: str
    source: str
    text: str | None = None
    messages: list[Message] | None = None
    parts: Parts | None = None
    ref: Ref | None = None
    sha256: str = ""
    bytes: int = 0
    tokens: int | None = None
    event_time_ms: int | None = None
    meta: dict[str, Any] = {}


class Mark(Struct, frozen=True, kw_only=True):
    """A threshold: above it `quality > value`, or equal and u("tie", id) < tie_fraction."""

    value: float
    tie_fraction: float


class CheapStage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the cheap stage of a cascade made of a document, and what it was compared with. `sent` other than `sure`:
    the full stage was asked, too, and the card's scores are its.

    `quality` of the cheap scores, null if they have none. `epoch`, of `epoch_of`, is the newest that the scorer knew:
    `keep` and `drop` are its thresholds, `half_width` (points) the source's under them. All are null where none was
    known, the half-width also where too few held-out documents can promise the loss.
    """

    lineage: str
    mode: StageMode
    scores: Annotated[list[Score | None], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]
    sent: Sent
    quality: float | None = None
    half_width: float | None = None
    epoch_of: str | None = None
    epoch: int | None = None
    keep: Mark | None = None
    drop: Mark | None = None
    view: View = "whole"
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generation_tokens: int = 0
    engine_s: float = 0.0


class ScoreCard(Wire, frozen=True, kw_only=True, tag="score_card.v1"):
    """What the scorer read out of one reply. `scores` in slot order; null is a score that could not be read.

    In mode `expected`, `scores` are means over what the student might have said, `said_scores` what it said,
    `entropy` (nats) how unsure it was, `label_mass` the probability of all scores together; else these are empty.
    In mode `head`, `scores` and `overall` are a head's outputs, and there is no reply and no recommendation. In mode
    `cascade` the card is that of the last stage that judged, and `cheap` holds what the first one said.
    """

    id: str
    source: str
    group: str
    origin: Origin
    lineage: str
    mode: Mode
    scores: Annotated[list[Score | None], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]
    ref: Ref | None = None
    overall: float | None = None
    recommendation: Verdict | None = None
    domain_tag: str | None = None
    brief: str | None = None
    reply: str | None = None
    repairs: list[str] = []
    attempts: int = 1
    finish_reason: str = "stop"
    view: View = "whole"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generation_tokens: int = 0
    tokens: int = 0
    tokens_basis: str = "bytes/4"
    event_time_ms: int = 0
    engine_s: float = 0.0
    said_scores: list[float | None] = []
    entropy: list[float | None] = []
    label_mass: list[float | None] = []
    cheap: CheapStage | None = None


class CardPosition(Struct, frozen=True, kw_only=True):
    partition: int
    offset: int


class Decision(Wire, frozen=True, kw_only=True, tag="decision.v1"):
    """The one outcome of a document that could be judged."""

    id: str
    source: str
    group: str
    origin: Origin
    card: CardPosition
    lineage: str
    mask: str
    epoch_of: str
    epoch: int
    policy: int
    decision: Verdict
    selected: bool
    reason: str
    quality: float
    dimensions_used: list[str]
    scores: list[float | None]
    ref: Ref | None = None
    overall: float | None = None
    recommendation: Verdict | None = None
    domain_tag: str | None = None
    brief: str | None = None
    tokens: int = 0
    event_time_ms: int = 0


class Epoch(Wire, frozen=True, kw_only=True, tag="epoch.v1"):
    """Thresholds in force from `first_offset` of the score log on; `keep` and `drop` null while cold.

    `epoch_of` is a source, `group:g` or `*`. Of a shared threshold `mask` is null where several masks flow in,
    `lineage` is a hash where several flow in, and `group` is `*` where all groups share it.
    """

    epoch_of: str
    group: str
    lineage: str
    epoch: int
    cause: Literal["start", "count", "policy"]
    first_offset: int
    policy: int
    basis: Literal["prior", "source", "group", "global", "cold_hash"]
    n: int
    weight: float
    target: float
    target_corrected: float
    keep: Mark | None
    drop: Mark | None
    mask: str | None = None


class Prior(Struct, frozen=True, kw_only=True):
    """Qualities of held-out cards under a mask: {cell: count}, cell = quality * 10 as text."""

    cells: dict[str, float]
    documents: int
    tokens: int


class Mask(Wire, frozen=True, kw_only=True, tag="mask.v1"):
    """Which dimensions count for a source (`*`: the whole group), how they are centred, and the rubric they are of."""

    mask: str
    group: str
    source: str
    lineage: str
    dimensions: list[str]
    means: Fifteen
    trim: float
    prior: Prior | None = None
    reliability_sha256: str = ""
    dimensions_min: int = 3
    rubric: str | None = None
    by: Literal["project", "command"] = "project"


class Policy(Wire, frozen=True, kw_only=True, tag="policy.v1"):
    """What a key (`*`, `group:g`, `source:s`) asks for; an absent field is inherited. `by`: what a project's files say,
    or what a person set by command. `mask_add` and `mask_remove` tell how the key's newest Masks came about.
    `floors_by_slot`: a slot without a floor here has the wider key's; in a record without it, as earlier versions wrote
    them, `floors` replace all those of wider keys. `mask_rubric`: that of `mask_add` and `mask_remove`.
    `skips`, under the key `skip` and with nothing beside it: offsets of earlier records that cannot be put in force."""

    retention: float | None = None
    unit: Unit | None = None
    band: float | None = None
    threshold_scope: Literal["source", "group", "global"] | None = None
    horizon_documents: int | None = None
    floors: dict[str, float] | None = None
    floors_by_slot: bool | None = None
    mask_add: list[str] | None = None
    mask_remove: list[str] | None = None
    mask_rubric: str | None = None
    group: str | None = None
    like: str | None = None
    mode: Mode | None = None
    skips: list[int] | None = None
    note: str = ""
    by: Literal["project", "command"] = "project"


class SourceState(Wire, frozen=True, kw_only=True, tag="source_state.v1"):
    """All that the aggregator knows of one (source, lineage, mask), written at its borders and checkpoints.

    A shared threshold has a state of its own: `source` is `group:g` or `*`, `mask` a hash over its members' masks,
    `lineage` one over their lineages if they differ. The states of its sources then hold counters, no cells and no
    `in_force`. `unit` is that of `due`.
    """

    source: str
    group: str
    lineage: str
    mask: str
    next_offset: int
    epoch: int
    n: float = 0.0
    since_border: int = 0
    since_halving: int = 0
    documents: int = 0
    tokens: int = 0
    due: float = 0.0
    selected_documents: int = 0
    selected_tokens: int = 0
    cells: dict[str, float] = {}
    token_cells: dict[str, float] = {}
    cell_documents: float = 0.0
    cell_tokens: float = 0.0
    dimension_counts: list[list[int]] = []
    in_force: Epoch | None = None
    unit: Unit = "documents"


class Checkpoint(Wire, frozen=True, kw_only=True, tag="checkpoint.v1"):
    """Every state of the partition written before this record is complete up to `next_offset`."""

    next_offset: int


class DeadLetter(Wire, frozen=True, kw_only=True, tag="dead_letter.v1"):
    """A document that cannot be judged, and why. `head` is base64 of its first bytes."""

    stage: Literal["produce", "score", "aggregate"]
    reason: str
    error: str
    attempts: int = 1
    id: str | None = None
    source: str | None = None
    origin: Origin | None = None
    ref: Ref | None = None
    sha256: str = ""
    bytes: int = 0
    head: str = ""
    lineage: str | None = None


class IngestPosition(Wire, frozen=True, kw_only=True, tag="ingest_position.v1"):
    """How far a feed (one file of one source) has been read into the log."""

    feed: str
    etag: str
    unit: Literal["byte", "row"]
    next: int
    documents: int
    rejected: int
    done: bool


class ExportedFile(Struct, frozen=True, kw_only=True):
    path: str
    rows: int
    sha256: str


class Export(Wire, frozen=True, kw_only=True, tag="export.v1"):
    """Files that hold decisions first..last (inclusive) of a partition. `anew`: none, those before count no more."""

    partition: int
    first: int
    last: int
    files: list[ExportedFile]
    content_errors: int = 0
    anew: bool = False


MESSAGES: Final[tuple[type[Wire], ...]] = (
    Document, ScoreCard, Decision, Epoch, Mask, Policy, SourceState, Checkpoint, DeadLetter, IngestPosition, Export,
)  # fmt: skip

_encoder: Final = msgspec.json.Encoder(order="deterministic")
M = TypeVar("M", bound=Wire)


def encode(message: Wire) -> bytes:
    """The message's bytes: one message, one encoding (fields in order, dict keys sorted)."""
    return _encoder.encode(message)


def decoder(kind: type[M]) -> msgspec.json.Decoder[M]:
    """Build once, use often. `decode` raises `msgspec.DecodeError` with the path of what is wrong."""
    return msgspec.json.Decoder(kind)
