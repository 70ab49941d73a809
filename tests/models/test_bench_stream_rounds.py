"""The stream beside its engine: the order of turns and the rest before each, with sides that only take notes."""

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from bench.busy.processes import Cpu
from bench.busy.sets import UNIFORM, asked
from bench.busy.sides import Took
from bench.stream_vs_engine import SIDES, STREAM, parse_arguments, result, table, turns
from mira_stream.messages import Document

pytestmark = pytest.mark.models


class Noting:
    """Every call of a side, of `forget` and of `sleep`, in order."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def prompts(self, wanted: Any) -> list[Any]:
        return []

    async def forget(self) -> None:
        self.notes.append("forget")

    async def sleep(self, seconds: float) -> None:
        self.notes.append(f"rest {seconds}")

    async def _took(self, side: str) -> Took:
        self.notes.append(side)
        return Took(2.0, Cpu(0.1), 0.07) if side == STREAM else Took(1.0, Cpu(0.1))

    async def offline(self, prompts: Any) -> Took:
        return await self._took(SIDES[0])

    async def alone(self, prompts: Any) -> Took:
        return await self._took(SIDES[1])

    async def batches(self, prompts: Any) -> Took:
        return await self._took(SIDES[2])

    async def stream(self, wanted: Any) -> Took:
        return await self._took(STREAM)


async def test_every_turn_follows_a_rest_and_each_side_every_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given, sides = parse_arguments(["--documents", "2", "--rest-s", "1.5"]), Noting()
    monkeypatch.setattr(asyncio, "sleep", sides.sleep)
    wanted = asked(UNIFORM, [Document(id="a", source="s", text="text")], 2)
    noting: Any = sides
    found = await turns(noting, noting, wanted, given, Console(quiet=True))
    assert sides.notes[0::3] == ["forget"] * 20
    assert sides.notes[1::3] == ["rest 1.5"] * 20
    rounds = [sides.notes[2::3][4 * number : 4 * number + 4] for number in range(5)]
    assert all(sorted(one) == sorted(SIDES) for one in rounds)
    follows = Counter(pair for one in rounds[1:] for pair in pairwise(one))
    assert set(follows.values()) == {1}
    assert len(follows) == 12
    assert {side: len(took) for side, took in found.items()} == dict.fromkeys(SIDES, 4)
    told = result({UNIFORM: found}, given)["sets"][UNIFORM]
    assert set(told["ratio"].values()) == {0.5}
    assert told["longest_block_s"] == [0.07] * 4
    assert [*table({UNIFORM: found}, 2).columns[-1].cells] == ["", "", "", "70 70 70 70"]
