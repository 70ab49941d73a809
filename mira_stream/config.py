"""The project directory's mira.toml: one frozen struct a table, unknown keys refused.

Precedence: command-line flag > environment MIRA_<SECTION>__<KEY> > file > default.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from mira_stream.environment import overlay
from mira_stream.errors import ConfigError
from mira_stream.messages import GROUP_PATTERN, SOURCE_PATTERN
from mira_stream.sections import (
    BrokerSection,
    DiscoverySection,
    Family,
    GroupingSection,
    GroupSection,
    IngestSection,
    LabelsSection,
    LimitsSection,
    MaskSection,
    ProjectSection,
    ReliabilitySection,
    RetentionSection,
    Section,
    SourceSection,
    TeacherSection,
    TokensSection,
    TopicsSection,
    WindowsSection,
)
from mira_stream.toml_lines import keys_of, line_of, value_at

FILE_NAME: Final = "mira.toml"
NAMED: Final[dict[str, tuple[type[Section], str]]] = {
    "groups": (GroupSection, GROUP_PATTERN),
    "sources": (SourceSection, SOURCE_PATTERN),
}
"""Tables of tables, each with a name of its own: what is in one, and what its name must match."""


class Settings(Section, frozen=True, kw_only=True):
    """All of mira.toml."""

    groups: dict[Annotated[str, Meta(pattern=GROUP_PATTERN)], GroupSection] = field(default_factory=dict)
    sources: dict[Annotated[str, Meta(pattern=SOURCE_PATTERN)], SourceSection] = field(default_factory=dict)
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
    table: dict[str, Any] = {}
    try:
        table = msgspec.toml.decode(text)
        overlay(table, os.environ if environment is None else environment)
        return msgspec.convert(table, Settings, strict=True)
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
        said = _in_named(table) or str(error)
        line = _line(text, said, table)
        cause = f"{path}, line {line}: {said}" if line else f"{path}: {said}"
        raise ConfigError("project_invalid", cause, "correct that key; ARCHITECTURE.md lists all") from None


def _line(text: bytes, said: str, table: Mapping[str, Any]) -> int | None:
    """The line of mira.toml that an error is about, where it names a key and that is in the file."""
    keys = keys_of(said)
    return line_of(text.decode(), keys, value_at(table, keys)) if table and keys else None


def _in_named(table: Mapping[str, Any]) -> str:
    """What is wrong in the first [groups.G] or [sources.S] that is wrong, by its name, which msgspec does not say."""
    for part, (kind, pattern) in NAMED.items():
        sections = table.get(part)
        for name, section in sections.items() if isinstance(sections, dict) else ():
            if not re.search(pattern, name):
                return f"[{part}.{name}]: a name must match {pattern}"
            try:
                msgspec.convert(section, kind, strict=True)
            except msgspec.ValidationError as error:
                return f"[{part}.{name}]: {error}"
    return ""
