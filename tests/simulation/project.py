"""The project that is simulated: two source groups, whose cards go to different partitions of the score log; what it
becomes when its students change, or a source is added."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import orjson
from msgspec.structs import replace

from mira_stream.config import Project, load_project
from mira_stream.messages import Mask, Policy, Prior
from mira_stream.scoring.lineage import lineage
from mira_stream.sections import WindowsSection
from mira_stream.selecting.wanted import project_policies

GROUPS: Final = ("alpha", "text")
SOURCES: Final = {"alpha": ("news", "wiki"), "text": ("posts",)}
ADDED: Final = "diary"
"""A source that is added while the stream runs, like `LIKE`."""
LIKE: Final = "news"
PRIOR: Final = Prior(cells={str(cell): 1.0 for cell in range(300, 900, 20)}, documents=30, tokens=0)
TOML: Final = """
[topics]
partitions = 2
[limits]
transaction_linger_s = {linger}
transaction_records = {records}
in_flight_documents = {in_flight}
partition_span = {span}
checkpoint_cards = {checkpoint}
drain_s = 5.0
dead_letters_in_a_row = 1000
"""
GROUP: Final = """
[groups.{name}]
family = "text"
engine = "openai"
base_urls = ["http://127.0.0.1:1"]
model = "scripted"
"""
SOURCE: Final = """
[sources.{name}]
group = "{group}"
path = "{name}.jsonl"
event_time = "happened"
"""
SIZES: Final = (
    {"linger": 0.0, "records": 4, "in_flight": 6, "span": 8, "checkpoint": 7},
    {"linger": 0.3, "records": 50, "in_flight": 16, "span": 1000, "checkpoint": 15},
    {"linger": 0.05, "records": 3, "in_flight": 32, "span": 20, "checkpoint": 1000},
)
"""Limits that are reached, limits that are not, and some of both."""

_folders: Final[list[TemporaryDirectory[str]]] = []


@cache
def simulated_project(size: int) -> Project:
    """Made once a process; nothing in it changes but the source files, which each seed writes anew. Windows are as the
    product has them."""
    _folders.append(TemporaryDirectory(prefix="mira-simulation-"))
    root = Path(_folders[-1].name)
    sources = [SOURCE.format(name=name, group=group) for group in GROUPS for name in SOURCES[group]]
    groups = [GROUP.format(name=group) for group in GROUPS]
    (root / "mira.toml").write_text(TOML.format(**SIZES[size]) + "".join(groups + sources))
    for group in GROUPS:
        _write_group(root, group)
    return load_project(root, {})


def windowed(project: Project, windows: WindowsSection) -> Project:
    """The same project with other windows."""
    return replace(project, settings=replace(project.settings, windows=windows))


def variant(project: Project, changed: bool, added: bool) -> Project:
    """The same project as its owner has it now: with other students (`changed`, another lineage), with `ADDED`."""
    groups, sources = dict(project.settings.groups), dict(project.settings.sources)
    if changed:
        groups = {name: replace(group, temperature=0.5) for name, group in groups.items()}
    if added:
        sources[ADDED] = replace(sources[LIKE], path=f"{ADDED}.jsonl", like=LIKE)
    return replace(project, settings=replace(project.settings, groups=groups, sources=sources))


@cache
def policy_records(size: int, changed: bool = False, added: bool = False) -> list[tuple[str, Policy | Mask]]:
    """What `mira-stream policy apply` asks for: (key, message)."""
    records = project_policies(variant(simulated_project(size), changed, added), lineage, _no_columns).records
    return [
        (key, replace(message, prior=prior_of(size)) if isinstance(message, Mask) else message)
        for key, message in records
    ]


def prior_of(size: int) -> Prior | None:
    """Of every mask; of one size in three, so that the others begin by chance."""
    return PRIOR if size == 0 else None


def _no_columns(path: Path, columns: object) -> dict[str, list[object]]:
    raise AssertionError("the project has no labels")


def _write_group(root: Path, group: str) -> None:
    header = {"schema": "rubric.v1", "group": group, "teacher": "scripted", "created_by": "simulation"}
    example = {"score": 5, "reason": "r"}
    anchors = [
        {"schema": "anchor.v1", "slot": f"A{n}", "name": f"D{n}", "description": "d", "examples": [example]}
        for n in range(1, 16)
    ]
    (root / "rubrics").mkdir(exist_ok=True)
    (root / "rubrics" / f"{group}.jsonl").write_bytes(b"\n".join(orjson.dumps(line) for line in [header, *anchors]))
    prompts = root / "prompts" / group
    prompts.mkdir(parents=True)
    (prompts / "system.txt").write_text("${calibration}")
    (prompts / "user.txt").write_text("${dimensions}\n${document}")
