"""The project directory's mira.toml: one frozen struct a table, unknown keys refused.

Precedence: command-line flag > environment MIRA_<SECTION>__<KEY> > file > default.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from mira_stream.clock import start_ms
from mira_stream.environment import overlay
from mira_stream.errors import ConfigError
from mira_stream.messages import GROUP_PATTERN, SOURCE_PATTERN, Layout, Mode, SpokenMode, StageMode, Unit

FILE_NAME: Final = "mira.toml"
WINDOWS_MAX: Final = 6
"""Windows kept of one source, open or closed: the newest by start. One takes about 5 KB of memory."""
Family = Literal["text", "qa", "agent"]
TooLong = Literal["head_tail", "head", "reject"]
Positive = Annotated[int, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Slot = Annotated[str, Meta(pattern=r"^A([1-9]|1[0-5])$")]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tables of mira.toml."""


class ProjectSection(Section, frozen=True, kw_only=True):
    prefix: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,39}$")] = "mira"


class BrokerSection(Section, frozen=True, kw_only=True):
    """`bootstrap_servers = "embedded"` starts the project's own Kafka in `data_dir`. `ssl_certfile`, `ssl_keyfile`: the
    client's own certificate chain and its key without a passphrase (PEM), where a broker asks for one (mutual TLS)."""

    bootstrap_servers: str = "embedded"
    data_dir: str = "broker"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password_env: str = "MIRA_SASL_PASSWORD"
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    transaction_timeout_ms: Positive = 20_000
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
        """What a source falls back to that this mode is not accepted for. None of `rationale` and of `scores`, which
        reads the very same score block."""
        if self.mode in ("rationale", "scores"):
            return None
        return replace(self, mode=self.cascade.full_mode if self.mode == "cascade" else "scores")

    @property
    def taught_mode(self) -> StageMode:
        """What the student must have been taught: that of its last stage."""
        return self.cascade.full_mode if self.mode == "cascade" else self.mode

    @property
    def lesson_mode(self) -> StageMode:
        """In which mode the group's student learns to reply; a head begins with one that does."""
        if self.taught_mode != "head":
            return self.taught_mode
        return "scores" if self.layout == "scores_first" else "rationale"


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
    `engine_threads`: CPU threads of each engine without a GPU, bound to no core; 0: as vLLM does by itself.
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
    the teacher is given up.
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


class Settings(Section, frozen=True, kw_only=True):
    """All of mira.toml."""

    groups: dict[Annotated[str, Meta(pattern=GROUP_PATTERN)], GroupSection] = {}
    sources: dict[Annotated[str, Meta(pattern=SOURCE_PATTERN)], SourceSection] = {}
    project: ProjectSection = ProjectSection()
    broker: BrokerSection = BrokerSection()
    topics: TopicsSection = TopicsSection()
    retention: RetentionSection = RetentionSection()
    mask: MaskSection = MaskSection()
    windows: WindowsSection = WindowsSection()
    limits: LimitsSection = LimitsSection()
    ingest: IngestSection = IngestSection()
    tokens: TokensSection = TokensSection()
    grouping: GroupingSection = GroupingSection()
    discovery: DiscoverySection = DiscoverySection()
    teacher: TeacherSection = TeacherSection()
    labels: LabelsSection = LabelsSection()
    reliability: ReliabilitySection = ReliabilitySection()

    def __post_init__(self) -> None:
        for name, source in self.sources.items():
            if source.like and (source.like not in self.sources or self.sources[source.like].group != source.group):
                raise ValueError(f"source {name!r} is like {source.like!r}, which is no source of its group")
            if source.group is None:
                if source.family is None:
                    raise ValueError(f"source {name!r} needs a group, or a family until it is in one")
                continue
            if source.group not in self.groups:
                known = ", ".join(sorted(self.groups)) or "none"
                raise ValueError(f"source {name!r} names group {source.group!r}; known groups: {known}")
            family = self.groups[source.group].family
            if source.family not in (None, family):
                raise ValueError(
                    f"source {name!r} is of family {source.family}, its group {source.group!r} of {family}"
                )
        _check_defaults(self.grouping.defaults)
        for name, group in self.groups.items():
            # Of a document that is cut in its middle, the head then holds what the cheap stage is shown.
            cheap = group.cascade.cheap_document_tokens_max
            if group.mode == "cascade" and 2 * cheap > group.document_tokens_max:
                raise ValueError(
                    f"group {name!r}: cascade.cheap_document_tokens_max = {cheap} must be at most half of"
                    f" document_tokens_max = {group.document_tokens_max}"
                )
            room = group.document_tokens_max + group.reply_tokens_max
            if room >= group.context_tokens_max:
                raise ValueError(
                    f"group {name!r}: document_tokens_max + reply_tokens_max = {room} leaves no room"
                    f" for the prompt in context_tokens_max = {group.context_tokens_max}"
                )

    def family_of(self, source: str) -> Family:
        """The family of a source of mira.toml, in a group or not."""
        section = self.sources[source]
        if section.group is not None:
            return self.groups[section.group].family
        assert section.family is not None, "checked when the settings were read"
        return section.family

    def sources_of(self, group: str) -> list[str]:
        """The sources of a group, ascending."""
        return sorted(name for name, section in self.sources.items() if section.group == group)


def _check_defaults(defaults: dict[str, Any]) -> None:
    try:
        msgspec.convert({"family": "text", **defaults}, GroupSection, strict=True)
    except msgspec.ValidationError as error:
        raise ValueError(f"[grouping.defaults] {error}") from None


class Project(Struct, frozen=True):
    """A project directory and its settings. With `shadow`, all it writes goes to topics of that name's own: it reads
    the documents of the stream and is seen by nobody."""

    root: Path
    settings: Settings
    shadow: str = ""

    def topic(self, name: str) -> str:
        """`<prefix>.<name>`, for example `mira.scores`; of a shadow `<prefix>.shadow.<shadow>.<name>`."""
        prefix = self.settings.project.prefix
        return f"{prefix}.shadow.{self.shadow}.{name}" if self.shadow else f"{prefix}.{name}"

    def documents_topic(self, group: str) -> str:
        """A shadow reads the same documents."""
        return f"{self.settings.project.prefix}.documents.{group}"

    def consumer_group(self, stage: str) -> str:
        """`<prefix>.scorer.<group>`, `<prefix>.aggregator`, `<prefix>.exporter`."""
        return self.topic(stage)

    def path(self, relative: str) -> Path:
        """A path of mira.toml, relative to the project directory unless absolute."""
        return self.root / relative

    def rubric_path(self, group: str) -> Path:
        return self.root / "rubrics" / f"{group}.jsonl"

    def prompts_path(self, group: str) -> Path:
        return self.root / "prompts" / group

    def reliability_path(self, group: str) -> Path:
        return self.root / "reliability" / f"{group}.json"

    def labels_path(self, group: str) -> Path:
        return self.root / "labels" / f"{group}.parquet"

    def judged_as(self, group: str, section: GroupSection) -> "Project":
        """The same project with other settings of one group: of a stage, or of another mode."""
        settings = replace(self.settings, groups={**self.settings.groups, group: section})
        return replace(self, settings=settings)

    def student_path(self, group: str) -> Path:
        student = self.settings.groups[group].student or f"students/{group}"
        return self.path(student)

    def head_path(self, group: str) -> Path:
        """The student of mode `head`, a folder of its own. No group's name has a dot."""
        return self.path(self.settings.groups[group].head or f"students/{group}.head")

    def served_path(self, group: str) -> Path:
        """The student that the group's mode asks."""
        return self.head_path(group) if self.settings.groups[group].mode == "head" else self.student_path(group)


def load_project(root: Path, environment: Mapping[str, str] | None = None) -> Project:
    """Read `root`/mira.toml with the environment laid over it. Raises ConfigError naming file and key."""
    path = root / FILE_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            "project_missing", f"{path} does not exist", "name a MIRA project directory with --project DIR"
        ) from None
    except OSError as error:
        raise ConfigError("project_unreadable", f"{path}: {error.strerror}", "name a directory you may read") from None
    return Project(root.resolve(), read_settings(text, path, environment))


def read_settings(text: bytes, path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in `text`, with the environment laid over them. Raises ConfigError naming `path` and key."""
    try:
        table = msgspec.toml.decode(text)
        overlay(table, os.environ if environment is None else environment)
        return msgspec.convert(table, Settings, strict=True)
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
        raise ConfigError(
            "project_invalid", f"{path}: {error}", "correct that key; ARCHITECTURE.md lists all"
        ) from None
