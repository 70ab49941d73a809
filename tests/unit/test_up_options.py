"""What `up` tells its services, and whoever stops it."""

import asyncio
from pathlib import Path

import pytest

from mira_stream.cli.up import options_of, telling


def test_a_loss_is_accepted_by_those_who_can_meet_one() -> None:
    told = {name: options_of(name, Path("/out"), True) for name in ("score", "aggregate", "export")}
    assert told == {"score": ["--accept-loss"], "aggregate": [], "export": ["--out", "/out", "--accept-loss"]}
    assert options_of("score", Path("/out"), False) == []
    assert options_of("export", Path("/out"), False) == ["--out", "/out"]


@pytest.mark.parametrize("stops", [True, False])
async def test_who_stops_it_is_told_at_once_and_not_at_the_end(stops: bool, capsys: pytest.CaptureFixture[str]) -> None:
    stop = asyncio.Event()
    async with telling(stop):
        if stops:
            stop.set()
        for _ in range(3):  # turns of the loop: it is told while the rest still works
            await asyncio.sleep(0)
        said = capsys.readouterr().err
    assert ("Ctrl-C again ends all at once" in " ".join(said.split())) == stops
