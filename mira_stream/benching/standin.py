"""An engine without a model, for measuring all that is around one. It says so in its name and in every result."""

import asyncio
from typing import Final

from mira_stream.scoring.engine import Completion, Request
from mira_stream.testing.engine import ScriptedEngine

STAND_IN: Final = "the engine is a stand-in: no model, every reply is made of a hash of the document after {s:g} s"


class StandInEngine(ScriptedEngine):
    """Answers after `reply_s`; keeps no request, so that its memory stays flat."""

    def __init__(self, reply_s: float = 0.0) -> None:
        super().__init__()
        self._reply_s = reply_s

    async def generate(self, request: Request) -> Completion:
        await asyncio.sleep(self._reply_s)
        return self._complete(request)
