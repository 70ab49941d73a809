"""What every saved run begins with, as of before it: machine, versions, the project's settings, and modes served."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mira_stream.benching.machine import machine, versions
from mira_stream.config import Project
from mira_stream.reliability.acceptance import ServedModes, served_modes
from mira_stream.vllm_engine import sharing_cores


def header(project: Project, groups: Sequence[str], schema: str, taken_at: str) -> dict[str, Any]:
    """The fields of a `Header`. Call it before the run: the load average is to be the machine's without it."""
    return {
        "schema": schema,
        "taken_at": taken_at,
        "machine": machine(),
        "versions": versions(),
        "settings": settings_of(project, groups),
    }


def settings_of(project: Project, groups: Sequence[str]) -> dict[str, Any]:
    """What of mira.toml decides speed; of a group also `served_modes`: those that its sources are judged in, which is
    another than `mode` where that was not accepted. `engine_threads` is what engines get that share this machine."""
    settings = sharing_cores(project, groups).settings
    return {
        "groups": {
            name: {**msgspec.to_builtins(settings.groups[name]), "served_modes": modes_of(project, name)}
            for name in groups
        },
        "limits": msgspec.to_builtins(settings.limits),
        "partitions": settings.topics.partitions,
        "train_cutoff_tokens": settings.tokens.train_cutoff_tokens,
    }


def modes_of(project: Project, group: str) -> list[str]:
    """Modes in which the group's sources are judged, each once."""
    served = served_modes(project, group)
    return list(dict.fromkeys(_mode(served, name) for name in project.settings.sources_of(group) or [""]))


def mode_notes(project: Project, groups: Sequence[str], *, published: bool) -> list[str]:
    """A line where a group is not judged in the mode that mira.toml asks for, or is a cascade. `published`: whether the
    run makes the thresholds that a cascade's cheap scores are compared with."""
    found = []
    for group in groups:
        found += [f"group {group}, {line}" for line in served_modes(project, group).said]
        if "cascade" in modes_of(project, group):
            how = "there are none before the sources' first epochs" if published else "none are published here"
            found.append(
                f"group {group} is a cascade: a document is judged by both stages where there is no threshold, and"
                f" {how}; later in a stream the full stage judges only those near one"
            )
    return found


def cache_notes(project: Project, groups: Sequence[str]) -> list[str]:
    """A line where prefix caches are not emptied between turns."""
    served = [group for group in groups if project.settings.groups[group].engine == "openai"]
    if not served:
        return []
    return [
        f"the endpoints of group {' and '.join(served)} keep their prefix caches from turn to turn: documents that come"
        " again, as those of the warm-up do, may be cheaper; give a turn as many as there are"
    ]


def _mode(served: ServedModes, source: str) -> str:
    """A source without data of its own is judged as the one it is like."""
    named = served.project.settings.sources.get(source)
    return served.section_of(named.like if named is not None and named.like else source).mode
