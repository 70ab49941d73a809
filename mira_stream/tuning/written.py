"""Settings into the text of a mira.toml, everything else of it kept, comments and order too. Pure."""

from collections.abc import Mapping
from typing import Any

import tomlkit

from mira_stream.tuning.space import Value


def with_settings(text: str, group: str, changes: Mapping[str, Value]) -> str:
    """`text` with `changes` in the group's table, `engine_threads` in [limits]; none takes a key out."""
    document = tomlkit.parse(text)
    for name, value in changes.items():
        table: Any = _limits(document) if name == "engine_threads" else document["groups"][group]
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value
    return tomlkit.dumps(document)


def _limits(document: tomlkit.TOMLDocument) -> Any:
    if "limits" not in document:
        document.add("limits", tomlkit.table())
    return document["limits"]
