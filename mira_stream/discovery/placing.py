"""Groups of sources into the text of a mira.toml, everything else of it kept, comments too. Pure."""

from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.items import Table

from mira_stream.config import Family


def with_groups(
    text: str, placed: Mapping[str, str], families: Mapping[str, Family], defaults: Mapping[str, Any]
) -> str:
    """`text` with the group of each source in `placed`, and a table for each group that has none.

    A new group's table has its family and `defaults`. Raises KeyError for a source that `text` does not have.
    """
    document = tomlkit.parse(text)
    groups = document.get("groups")
    if groups is None:
        groups = tomlkit.table(is_super_table=True)
        document.add("groups", groups)
    for name, family in sorted(families.items()):
        if name not in groups:
            groups.add(name, _group(family, defaults))
    sources = document["sources"]
    for source, group in placed.items():
        section = sources[source]
        if section.get("group") != group:
            section["group"] = group
    return tomlkit.dumps(document)


def _group(family: Family, defaults: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    table.add("family", family)
    for key, value in defaults.items():
        if key != "family":
            table.add(key, value)
    return table
