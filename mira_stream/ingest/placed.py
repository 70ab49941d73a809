"""The group of a source whose documents are to be read. Pure."""

from mira_stream.errors import ConfigError
from mira_stream.sections import SourceSection


def placed_group(source: str, section: SourceSection) -> str:
    """The group of a source. Raises ConfigError(source_unplaced) if it is in none yet."""
    if section.group is None:
        raise ConfigError(
            "source_unplaced",
            f"source {source!r} is in no group yet",
            f"mira-stream rubric group, or mira-stream rubric place {source}",
        )
    return section.group
