"""Which settings are tried, and with which values. Pure."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.errors import UsageError
from mira_stream.sections import GroupSection, LimitsSection

Value = int | bool | None
Choice = Mapping[str, Value]
"""A value for every knob that takes part."""
Table = Literal["group", "limits"]
FACTORS: Final = (1, 2, 4, 8)
NAMES: Final = ("engine_threads", "max_num_seqs", "max_num_batched_tokens", "prefix_caching", "chunked_prefill")
"""In the order in which they are tried: what moves most comes first, since later ones are tried on its winner."""


class Knob(Struct, frozen=True, kw_only=True):
    """One key of mira.toml: of the group's table or of [limits]. `values` to try, the one in force left out."""

    name: str
    table: Table
    now: Value
    values: list[Value]


def knobs(group: GroupSection, limits: LimitsSection, cores: int, documents: int, *, threads: bool) -> list[Knob]:
    """All knobs of an engine, for repetitions of so many `documents`. More sequences than there are documents at once
    cannot be told from just as many (what is in force included); neither they nor chunks smaller than a batch of
    single tokens are choices; prefill that is not chunked takes a step for a whole prompt (vLLM refuses a smaller
    budget). `threads`: whether those of the engine alone say what it does as it is served, without a GPU and with no
    other engine beside it."""
    most, context = min(limits.in_flight_documents, documents), group.context_tokens_max
    sequences = [most // factor for factor in FACTORS if most // factor not in (0, min(group.max_num_seqs, most))]
    budgets: list[Value] = [context * factor for factor in FACTORS if context * factor >= most]
    tried: dict[str, tuple[Table, Value, list[Value]]] = {
        "engine_threads": ("limits", limits.engine_threads, [0, *_threads(cores)] if threads else []),
        "max_num_seqs": ("group", group.max_num_seqs, list(reversed(sequences))),
        "max_num_batched_tokens": ("group", group.max_num_batched_tokens, [None, *budgets]),
        "prefix_caching": ("group", group.prefix_caching, [True, False]),
        "chunked_prefill": ("group", group.chunked_prefill, [True, False]),
    }
    found = []
    for name in NAMES:
        table, now, values = tried[name]
        found.append(Knob(name=name, table=table, now=now, values=[value for value in values if value != now]))
    return found


def check_documents(documents: int, limits: LimitsSection) -> list[str]:
    """What to say of repetitions of so many documents. Raises UsageError(tune_documents) of one, which is never beside
    another."""
    most = limits.in_flight_documents
    if documents == 1 < most:
        raise UsageError(
            "tune_documents",
            "a repetition of one document times a single reply, and most settings decide how many are served at once",
            f"use --documents {most} or more: so many are asked at once ([limits] in_flight_documents)",
        )
    if documents >= most:
        return []
    return [
        f"{documents} documents a repetition never fill the engine as the stream does, which asks {most} at once"
        f" ([limits] in_flight_documents): what is faster here may not be there; --documents {most} or more tells"
    ]


def _threads(cores: int) -> list[int]:
    return sorted({1, max(1, cores // 2), max(1, cores - 1), cores})


def chosen(all_knobs: list[Knob], names: list[str] | None) -> list[Knob]:
    """Those of these names, in the order in which they are tried. Raises UsageError(knob_unknown)."""
    for name in names or ():
        if name not in NAMES:
            raise UsageError("knob_unknown", f"no setting {name!r} is searched", f"use one of {', '.join(NAMES)}")
    return [knob for knob in all_knobs if knob.values and (not names or knob.name in names)]


def with_choice(project: Project, group: str, choice: Choice) -> Project:
    """The project as if mira.toml said so."""
    limits = {name: value for name, value in choice.items() if name == "engine_threads"}
    own: dict[str, Any] = {name: value for name, value in choice.items() if name not in limits}
    settings = project.settings
    groups = {**settings.groups, group: replace(settings.groups[group], **own)}
    return replace(project, settings=replace(settings, groups=groups, limits=replace(settings.limits, **limits)))


def said(value: Value) -> str:
    """As mira.toml says it; none: the key is left out, and vLLM chooses."""
    return "none" if value is None else str(value).lower()
