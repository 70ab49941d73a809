"""`--corpus NAME=PATH`: the user's own data as one more source."""

import re
from pathlib import Path

from msgspec.structs import replace

from mira_stream.config import Settings, SourceSection
from mira_stream.errors import UsageError
from mira_stream.messages import SOURCE_PATTERN


def corpus_source(option: str, settings: Settings, group: str | None = None) -> tuple[str, SourceSection]:
    """(source, its section) of one `--corpus`: the field mapping of [sources.NAME] where mira.toml has it.

    `group` need not be given for a source that mira.toml knows, nor where there is only one group. A relative PATH
    is relative to the working directory. Raises UsageError.
    """
    name, equals, path = option.partition("=")
    if not equals or not path or re.match(SOURCE_PATTERN, name) is None:
        raise UsageError("corpus_invalid", f"--corpus {option!r}", "write --corpus NAME=PATH; NAME of A-Za-z0-9_.-")
    known = settings.sources.get(name)
    if group is not None and group not in settings.groups:
        raise UsageError("group_unknown", f"--group {group}", f"choose one of {', '.join(sorted(settings.groups))}")
    if known is not None and group in (None, known.group):
        return name, replace(known, path=str(Path(path).absolute()))
    if known is not None:
        raise UsageError(
            "group_differs",
            f"source {name!r} belongs to group {known.group!r}",
            "leave --group out, or take another NAME",
        )
    if group is None:
        if len(settings.groups) != 1:
            groups = ", ".join(sorted(settings.groups))
            raise UsageError("group_missing", f"--corpus {name} needs a group", f"add --group with one of {groups}")
        group = next(iter(settings.groups))
    return name, SourceSection(group=group, path=str(Path(path).absolute()))
