"""A scripted engine under a seed: late, failing, garbling. What a document gets depends on its text, not on the try."""

import asyncio
import random
from collections import Counter
from hashlib import blake2b
from typing import Final

from mira_stream.errors import EngineError
from mira_stream.scoring.engine import Completion, Request, RequestRefused
from mira_stream.testing.engine import GARBAGE, ScriptedEngine, hashed_answer
from tests.simulation.plan import PAUSES_S, Plan

SLOW_S: Final = 8.0
_GARBAGE: Final = sorted(GARBAGE.values())


class SimulatedEngine(ScriptedEngine):
    def __init__(self, plan: Plan, rng: random.Random, reached: Counter[str]) -> None:
        super().__init__()
        self._plan = plan
        self._rng = rng
        self._reached = reached

    async def generate(self, request: Request) -> Completion:
        plan, rng, reached = self._plan, self._rng, self._reached
        shares = _shares(request.messages[-1]["content"])
        if shares[0] < plan.slow:
            reached["document slow"] += 1
            await asyncio.sleep(SLOW_S * rng.random())
        await asyncio.sleep(plan.engine_s * rng.random())
        if rng.random() < plan.engine_failed:
            last = request.request_id.endswith(f".{len(PAUSES_S)}")
            reached["engine failed to the end" if last else "engine failed"] += 1
            raise EngineError("made to fail", retriable=rng.random() < 0.5)
        if shares[1] < plan.engine_refused:
            reached["engine refused"] += 1
            raise RequestRefused("made to refuse")
        text = hashed_answer(request)
        if shares[2] < plan.garbled:
            reached["reply garbled for ever"] += 1
            text = rng.choice(_GARBAGE)
        elif request.request_id.rsplit(".", 1)[0].endswith("-1") and shares[3] < plan.garbled_once:
            reached["reply garbled once"] += 1
            text = rng.choice(_GARBAGE)
        return Completion(text, "stop", len(request.messages[-1]["content"]) // 4, len(text) // 4)


def _shares(text: str) -> list[float]:
    """Four numbers in [0, 1) that belong to a text."""
    return [byte / 256 for byte in blake2b(text.encode(), digest_size=4).digest()]
