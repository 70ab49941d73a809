"""The tables of mira.toml, one frozen struct each: unknown keys are refused."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from mira_stream.clock import start_ms
from mira_stream.messages import GROUP_PATTERN, Layout, Mode, SpokenMode, StageMode, Unit

WINDOWS_MAX: Final = 6
"""Windows kept of one source, open or closed: the newest by start. One takes about 5 KB of memory."""
Family = Literal["text", "qa", "agent"]
TooLong = Literal["head_tail", "head", "reject"]
Positive = Annotated[int, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Slot = Annotated[str, Meta(pattern=r"^A([1-9]|1[0-5])\Z")]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tables of mira.toml."""


class ProjectSection(Section, frozen=True, kw_only=True):
    prefix: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,39}\Z")] = "mira"


class BrokerSection(Section, frozen=True, kw_only=True):
    """`bootstrap_servers = "embedded"` starts the project's own Kafka in `data_dir`. `ssl_certfile`, `ssl_keyfile`: the
    client's own certificate chain and its key without a passphrase (PEM), where a broker asks for one (mutual TLS).
    `transaction_timeout_ms`: 15 minutes at most, Kafka's own bound; so long a producer that died holds up readers."""

    bootstrap_servers: str = "embedded"
    data_dir: str = "broker"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password_env: str = "MIRA_SASL_PASSWORD"
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    transaction_timeout_ms: Annotated[int, Meta(gt=0, le=900_000)] = 20_000
    session_timeout_ms: Positive = 10_000
    request_timeout_ms: Positive = 30_000


class TopicsSection(Section, frozen=True, kw_only=True):
    """`start`: where a scorer begins that has never committed: earliest, latest, or an ISO 8601 time."""

    partitions: Positive = 4
    replication_factor: Positive = 1
    scores_key: Literal["group", "all"] = "group"
    start: str = "earliest"

    def __post_init__(self) -> None:
        if self.start not in ("earliest", "latest"):
            start_ms(self.start)


class CascadeSection(Section, frozen=True, kw_only=True):
    """Mode `cascade`: the cheap stage is shown the first `cheap_document_tokens_max` tokens, the full one the view of
    the group, both by the group's one engine. At most the share `loss` of a source's documents may be decided otherwise
    than the full stage would decide them."""

    cheap_mode: SpokenMode = "expected"
    cheap_document_tokens_max: Positive = 128
    full_mode: Literal["rationale", "scores"] = "scores"
    loss: Annotated[float, Meta(gt=0, lt=1)] = 0.05


class GroupSection(Section, frozen=True, kw_only=True):
    """One source group: its scorer and how documents are shown to it.

    `foreign`: the student's folder does not say for which group and rubric it was trained (a released one does not),
    and whoever writes this vouches that it is this group's. `head`: the student of mode `head`.
    """

    family: Family
    engine: Literal["vllm", "openai"] = "vllm"
    student: str = ""
    head: str = ""
    foreign: bool = False
    base_urls: list[str] = []
    model: str = ""
    api_key_env: str = ""
    mode: Mode = "scores"
    mode_pinned: bool = False
    layout: Layout = "scores_first"
    document_tokens_max: Positive = 512
    context_tokens_max: Positive = 1024
    reply_tokens_max: Positive = 160
    too_long: TooLong = "head_tail"
    temperature: float = 0.0
    top_p: float = 1.0
    constrained: bool = True
    trust_remote_code: bool = False
    tensor_parallel_size: Positive = 1
    gpu_memory_utilization: float = 0.9
    kv_cache_gib: Positive = 1
    max_num_seqs: Positive = 64
    max_num_batched_tokens: Positive | None = None
    prefix_caching: bool = True
    chunked_prefill: bool = True
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    request_timeout_s: float = 120.0
    cascade: CascadeSection = CascadeSection()

    @property
    def stages(self) -> "tuple[GroupSection, ...]":
        """The settings of each stage in turn: the cheap and the full one of a cascade, else these alone."""
        if self.mode != "cascade":
            return (self,)
        own = self.cascade
        cheap = replace(self, mode=own.cheap_mode, document_tokens_max=own.cheap_document_tokens_max, too_long="head")
        return cheap, replace(self, mode=own.full_mode)

    @property
    def slower(self) -> "GroupSection | None":
        """What a source falls back to that this mode is not accepted for. None of `rationale`, and of `scores` where it
        reads the very same score block; a student of layout `interleaved` is only made to leave its reasons out."""
        if self.mode == "rationale" or (self.mode == "scores" and self.layout == "scores_first"):
            return None
        if self.mode == "scores":
            return replace(self, mode="rationale")
        return replace(self, mode=self.cascade.full_mode if self.mode == "cascade" else "scores")

    @property
    def slower_in_turn(self) -> "tuple[GroupSection, ...]":
        """The modes that a source may fall back to, the next slower one first. With the last one every faster mode is
        compared; it needs no acceptance."""
        return () if self.slower is None else (self.slower, *self.slower.slower_in_turn)

    @property
    def taught_mode(self) -> StageMode:
        """What the student must have been taught: that of its last stage."""
        return self.cascade.full_mode if self.mode == "cascade" else self.mode

    @property
    def lesson_mode(self) -> StageMode:
        """In which mode the group's student learns to reply; a head begins with one that does. What layout
        `interleaved` teaches has reasons, whatever is served of it."""
        if self.layout == "interleaved":
            return "rationale"
        return "scores" if self.taught_mode == "head" else self.taught_mode


class SourceSection(Section, frozen=True, kw_only=True):
    """One source: its files and which of their columns are what. Column names may be dotted paths.

    A source that is in no group yet names its `family`, so that it can be read and placed. `mask_add` and
    `mask_remove` overrule what was measured: dimensions that a person lets count here, or takes out.
    """

    group: Annotated[str, Meta(pattern=GROUP_PATTERN)] | None = None
    family: Family | None = None
    path: str = ""
    id: str = "id"
    text: str = "text"
    messages: str = "messages"
    parts: str = "parts"
    question: str = ""
    think: str = ""
    answer: str = ""
    tokens: str = ""
    event_time: str = ""
    retention: Share | None = None
    description: str = ""
    mask_add: list[Slot] = []
    mask_remove: list[Slot] = []
    like: str = ""


class RetentionSection(Section, frozen=True, kw_only=True):
    target: Share = 0.5
    unit: Unit = "documents"
    scope: Literal["source", "group", "global"] = "source"
    band: Share = 0.1
    horizon_documents: Positive = 500
    budget_tokens: Count = 0
    expected_tokens: Count = 0


class WindowsSection(Section, frozen=True, kw_only=True):
    """Event-time windows of a source, and how long documents may come out of order, in seconds."""

    size_s: Positive = 3_600
    grace_s: Count = 600

    def __post_init__(self) -> None:
        longest_s = (WINDOWS_MAX - 2) * self.size_s
        if self.grace_s > longest_s:
            raise ValueError(
                f"windows: grace_s = {self.grace_s} is longer than the windows kept of a source last: at most"
                f" {longest_s} with size_s = {self.size_s}"
            )


class MaskLimits(Section, frozen=True, kw_only=True):
    """A cell counts when its MAE stays under `mae` and its rho over `rho` (one-sided 90 % bounds)."""

    mae: float = 1.0
    rho: float = 0.3


class MaskSection(Section, frozen=True, kw_only=True):
    limits: MaskLimits = MaskLimits()
    trim: Annotated[float, Meta(ge=0, lt=0.5)] = 0.1
    dimensions_min: Positive = 3


class LimitsSection(Section, frozen=True, kw_only=True):
    """Per engine in flight, per partition read beyond the finished prefix, per transaction released.

    `partition_span` in offsets, `progress_ranges` in finished ranges above the prefix: at either the partition waits.
    `engine_threads`: CPU threads of each engine without a GPU, bound to no core; 0: several engines of a process share
    its cores, one alone does as vLLM does by itself (bound to all cores but one).
    """

    in_flight_documents: Positive = 96
    in_flight_tokens: Positive = 400_000
    in_flight_bytes: Positive = 64 * 2**20
    partition_span: Positive = 200_000
    progress_ranges: Positive = 1000
    transaction_records: Positive = 500
    transaction_linger_s: float = 0.5
    drain_s: float = 10.0
    checkpoint_cards: Positive = 20_000
    dead_letters_in_a_row: Positive = 50
    engine_threads: Count = 0


class IngestSection(Section, frozen=True, kw_only=True):
    inline_bytes_max: Positive = 900_000


class TokensSection(Section, frozen=True, kw_only=True):
    train_cutoff_tokens: Positive = 32_768


class GroupingSection(Section, frozen=True, kw_only=True):
    """How sources are put into groups. `k` = 0: as many as their silhouette speaks for, in each family.

    A source whose cosine to the nearest group's centroid is below `novel_below` is novel. `defaults`: the keys that the
    table of a new group starts with.
    """

    k: Annotated[int, Meta(ge=0)] = 0
    scope: Literal["global", "group", "source"] = "group"
    seed: int = 0
    sample_documents: Positive = 200
    novel_below: Annotated[float, Meta(ge=-1, le=1)] = 0.6
    defaults: dict[str, Any] = {}


class DiscoverySection(Section, frozen=True, kw_only=True):
    """How a group's rubric is discovered. `documents` a group; `embedding`: the packaged MiniLM, a name or a path."""

    documents: Positive = 30_000
    seed: int = 0
    embedding: str = "minilm"
    name_rule: Literal["medoid", "mode"] = "medoid"
    examples: Positive = 3
    reply_tokens_max: Positive = 2048


class TeacherSection(Section, frozen=True, kw_only=True):
    """Who judges offline, how fast it may be asked (0 a minute: no limit of ours) and what a million tokens cost.

    `attempts`: how often a question whose answers cannot be read is asked. `silent_s`: without any answer for so long
    the teacher is given up. `request_timeout_s`: so long one answer may take, also when asking ends.
    """

    base_url: str = ""
    model: str = "featurejudge"
    api_key_env: str = ""
    temperature: float = 0.0
    concurrency: Positive = 16
    requests_per_minute: Annotated[float, Meta(ge=0)] = 0.0
    tokens_per_minute: Annotated[float, Meta(ge=0)] = 0.0
    prompt_price: Annotated[float, Meta(ge=0)] = 0.0
    generation_price: Annotated[float, Meta(ge=0)] = 0.0
    reply_tokens_max: Positive = 2048
    attempts: Positive = 3
    request_timeout_s: Annotated[float, Meta(gt=0)] = 120.0
    silent_s: Annotated[float, Meta(gt=0)] = 600.0


class LabelsSection(Section, frozen=True, kw_only=True):
    """How many labels are asked for, of each source: documents to train on and to measure on, windows of a
    training document, views of a window (itself and shorter ones)."""

    documents: Positive = 2000
    heldout: Positive = 200
    windows: Positive = 1
    cuts: Positive = 1


class ReliabilitySection(Section, frozen=True, kw_only=True):
    """`retest`: so many held-out documents of a group the pipeline lets the teacher judge a second time, which shows
    how far it agrees with itself; 0: none. At [teacher] temperature 0 that is trivial."""

    retest: Count = 50
