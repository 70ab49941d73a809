"""Groups of sources into the text of a mira.toml, everything else of it kept, comments too. Pure."""

from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.items import Table

from mira_stream.sections import Family


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


_OWN = ("path", "retention", "description", "group", "like", "mask_add", "mask_remove")
"""What a source that begins as another one does not take over from its table."""


def with_source(text: str, name: str, group: str, like: str | None, path: str, retention: float | None) -> str:
    """`text` with a table for a source that it does not have; the columns are those of `like`, if that is given. The
    target is no other than `retention`: what is written there and what is in force must be one."""
    document = tomlkit.parse(text)
    sources = document.get("sources")
    if sources is None:
        sources = tomlkit.table(is_super_table=True)
        document.add("sources", sources)
    if name in sources:
        return text
    model = sources.get(like, {}) if like is not None else {}
    table = tomlkit.table()
    table.add("group", group)
    for key, value in (("like", like if model else None), ("path", path), ("retention", retention)):
        if value or value == 0:
            table.add(key, value)
    for key, value in model.items():
        if key not in _OWN:
            table.add(key, value)
    sources.add(name, table)
    return tomlkit.dumps(document)


def _group(family: Family, defaults: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    table.add("family", family)
    for key, value in defaults.items():
        if key != "family":
            table.add(key, value)
    return table
