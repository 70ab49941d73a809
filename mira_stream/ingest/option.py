"""`--corpus NAME=PATH`: a source of mira.toml, read from somewhere else."""

from pathlib import Path

from msgspec.structs import replace

from mira_stream.config import Settings
from mira_stream.errors import UsageError
from mira_stream.sections import SourceSection


def corpus_source(option: str, settings: Settings) -> tuple[str, SourceSection]:
    """(source, its section with that path). A relative PATH is relative to the working directory. Raises UsageError."""
    name, equals, path = option.partition("=")
    if not equals or not name or not path:
        raise UsageError("corpus_invalid", f"--corpus {option!r}", "write --corpus NAME=PATH")
    return name, replace(known_source(name, settings), path=str(Path(path).absolute()))


def known_source(name: str, settings: Settings) -> SourceSection:
    """Raises UsageError: the scorer takes no documents of a source that mira.toml does not have."""
    section = settings.sources.get(name)
    if section is None:
        known = ", ".join(sorted(settings.sources)) or "none"
        raise UsageError(
            "source_unknown",
            f"mira.toml has no source {name!r}; it has: {known}",
            f'add [sources.{name}] with group = "..." to mira.toml, and start the services again',
        )
    return section
