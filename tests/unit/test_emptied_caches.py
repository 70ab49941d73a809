"""A comparison whose prefix cache was not emptied ends, or is asked once more; it never goes on with what it has."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bench.busy.processes import Processes
from bench.busy.sides import Sides
from bench.peering import serving
from bench.peering.serving import Server
from mira_stream.errors import DependencyError
from mira_stream.sections import GroupSection
from mira_stream.vllm_engine import VllmEngine, emptying
from tests.unit.scoring_project import make_project


class Caching:
    """vLLM, whose cache is emptied at the last of these calls."""

    def __init__(self, *answers: bool) -> None:
        self.left = list(answers)

    async def reset_prefix_cache(self) -> bool:
        return self.left.pop(0)


class Blocking(Caching):
    def reset_prefix_cache(self) -> bool:  # type: ignore[override]
        return self.left.pop(0)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three looks, without a pause."""
    times = count()
    monkeypatch.setattr(emptying, "PAUSE_S", 0.0)
    monkeypatch.setattr(emptying.empty, "__defaults__", (3.0, lambda: next(times)))


def engine(llm: Caching) -> VllmEngine:
    found = VllmEngine(Path("nowhere"), GroupSection(family="text"))
    found._llm = llm
    return found


async def test_an_engine_is_asked_again_until_it_is_empty() -> None:
    llm = Caching(False, False, True, False)
    await engine(llm).reset_prefix_cache()
    assert llm.left == [False]


async def test_an_engine_that_keeps_its_cache_ends_the_comparison() -> None:
    llm = Caching(False, False, False, True)
    with pytest.raises(DependencyError, match="cache_kept"):
        await engine(llm).reset_prefix_cache()
    assert llm.left == [True]


async def test_an_engine_that_does_not_run_has_nothing_cached() -> None:
    await VllmEngine(Path("nowhere"), GroupSection(family="text")).reset_prefix_cache()


@pytest.mark.parametrize("side", ["LLM", "AsyncLLM"])
async def test_neither_side_beside_the_stream_goes_on_with_what_it_has(tmp_path: Path, side: str) -> None:
    offline: Any = Blocking(*[side == "AsyncLLM"] * 3)
    alone = engine(Caching(*[side == "LLM"] * 3))
    sides = Sides(make_project(tmp_path), "text", "", offline, alone, Processes())
    with pytest.raises(DependencyError, match="cache_kept"):
        await sides.forget()


async def test_a_server_is_asked_again_until_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    left = ['{"success":false}', '{"success":true}', "never"]
    monkeypatch.setattr(serving, "_ask", lambda request: left.pop(0))
    await Server("http://127.0.0.1:9/v1", "student").forget()
    assert left == ["never"]


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"detail":"Not Found"}', OSError("HTTP Error 404: Not Found")])
async def test_a_server_that_does_not_say_so_ends_the_turn(
    monkeypatch: pytest.MonkeyPatch, said: str | OSError
) -> None:
    def answer(request: object) -> str:
        if isinstance(said, OSError):
            raise said
        return said

    monkeypatch.setattr(serving, "_ask", answer)
    with pytest.raises(DependencyError, match=r"cache_kept: http://127.0.0.1:9 does not say"):
        await Server("http://127.0.0.1:9/v1", "student").forget()
