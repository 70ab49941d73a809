"""Asks what `mira-stream up` keeps alive whether it still lives."""

import asyncio
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Final, NamedTuple, NoReturn

from mira_stream.clock import monotonic
from mira_stream.observing.services import fetch
from mira_stream.supervision.keeping import Keeper
from mira_stream.supervision.pulse import EVERY_S, Beat

ANSWER_S: Final = 4.0


class Probes(NamedTuple):
    """Addresses that answer 200 while the service lives, and once it has come up."""

    lives: str
    up: str


async def feel(keeper: Keeper, probes: Callable[[], Mapping[str, Probes]]) -> NoReturn:
    """Ask all of them side by side, for ever, and tell the keeper."""
    while True:
        begun_s = monotonic()
        asked = {name: (keeper.pid(name), probe) for name, probe in probes().items()}
        beats = await asyncio.gather(*(asyncio.to_thread(_beat, probe) for _, probe in asked.values()))
        for (name, (pid, _)), beat in zip(asked.items(), beats, strict=True):
            keeper.kill_if_still(name, pid, beat)
        await asyncio.sleep(max(0.0, EVERY_S - (monotonic() - begun_s)))


def _beat(probe: Probes) -> Beat:
    lives = _is_well(probe.lives)
    return Beat(up=lives and _is_well(probe.up), lives=lives)


def _is_well(url: str) -> bool:
    try:
        fetch(url, ANSWER_S)
    except (OSError, HTTPException, ValueError):
        return False
    return True
