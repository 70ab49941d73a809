"""MIRA_<SECTION>__<KEY> of the environment, laid over the table of a mira.toml."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_VARIABLE: Final = re.compile(r"^MIRA_([A-Z]+)__([A-Z0-9_]+)$")


def overlay(table: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Put MIRA_<SECTION>__<KEY> into the table; values are read as TOML, else taken as text."""
    for name, text in environment.items():
        match = _VARIABLE.match(name)
        if match is None:
            continue
        section, key = match[1].lower(), match[2].lower()
        try:
            value = msgspec.toml.decode(f"value = {text}")["value"]
        except msgspec.DecodeError:
            value = text
        table.setdefault(section, {})[key] = value
