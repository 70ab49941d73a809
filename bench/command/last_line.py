"""The last line of a benchmark: one JSON object, which says where its figures come from, too."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from mira_stream.benching.machine import machine, versions
from mira_stream.benching.saving import stamp
from mira_stream.clock import now_ms

BEGAN: Final[Mapping[str, Any]] = {"taken_at": stamp(now_ms()), "machine": machine()}
"""As it was when the program began: a load behind it would be its own."""


def last_line(found: Mapping[str, Any]) -> None:
    """Prints it with the time, the machine and the versions of what took part."""
    print(orjson.dumps({**found, **BEGAN, "versions": versions()}).decode())
