"""Where in a TOML file something stands that its reader only names by table and key. Pure.

No parser tells it, so a line is taken only where it is proven: the text up to it has the key, the text before has not.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

_TABLE: Final = re.compile(r"^\[([^\]]+)\]")
_PLACE: Final = re.compile(r"at `\$\.([^`\[]+)")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]+)`")
_ABSENT: Final = object()


def keys_of(said: str) -> list[str]:
    """The table and key that an error names: `[groups.text]: ... - at `$.family``."""
    found = [match[1] for match in (_TABLE.search(said), _PLACE.search(said)) if match is not None]
    unknown = _UNKNOWN.search(said)
    return [*(key for path in found for key in path.split(".")), *([unknown[1]] if unknown else [])]


def line_of(text: str, keys: Sequence[str], value: object) -> int | None:
    """The line, from 1, on which a key gets its value; of a table the line that begins it. None if that is not sure:
    the file has another value there (the environment's counts), or one of several lines."""
    lines = text.splitlines(keepends=True)
    started = False
    for number, line in enumerate(lines, start=1):
        started = started or not keys[:-1] or keys[-2] in line
        if not started or keys[-1] not in line:
            continue
        try:
            before, after = (msgspec.toml.decode("".join(lines[:end])) for end in (number - 1, number))
        except msgspec.DecodeError:
            continue  # inside a value of several lines
        found = value_at(after, keys)
        if value_at(before, keys) is _ABSENT and found is not _ABSENT:
            return number if isinstance(found, dict) or found == value else None
    return None


def value_at(table: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """What a key has; something that no value equals if it is not there."""
    found: Any = table
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            return _ABSENT
        found = found[key]
    return found
