"""An engine that waits instead of computing: a token takes as long however many others are written beside it, as it
nearly does on a GPU whose memory is read for all at once. On CPU cores it does not: there a fuller batch is slower."""

import asyncio
from typing import Final

from bench.busy.processes import Processes
from bench.busy.sets import Asked, varied
from bench.busy.sides import Took, all_of, streamed, timed
from bench.flowing.sides import CannedEngine
from mira_stream.config import Project
from mira_stream.scoring.engine import Completion, Request
from mira_stream.scoring.tokenizer import StudentTokenizer

TOKEN_S: Final = 0.005


class WaitingEngine(CannedEngine):
    """Scripted; takes `places` requests at once, each for as many tokens as its lot says."""

    def __init__(self, tokenizer: StudentTokenizer, places: int) -> None:
        super().__init__(0.0, tokenizer, None)
        self._places = asyncio.Semaphore(places)

    async def generate(self, request: Request) -> Completion:
        async with self._places:
            await asyncio.sleep(varied(request).max_tokens * TOKEN_S)
        return Completion(self.answer(request), "stop", 0, 0)


class Waiting:
    """Both sides with this engine; each call is one turn."""

    def __init__(self, project: Project, group: str, bootstrap: str, processes: Processes) -> None:
        self._project = project
        self._group = group
        self._bootstrap = bootstrap
        self._places = project.settings.groups[group].max_num_seqs
        self._engine = WaitingEngine(StudentTokenizer(project.student_path(group)), self._places)
        self._cpu = processes.reading("")
        self._turn = 0

    async def batches(self, requests: list[Request]) -> Took:
        async def one_after_the_other() -> None:
            for at in range(0, len(requests), self._places):
                await all_of(self._ask(request) for request in requests[at : at + self._places])

        return await timed(one_after_the_other(), self._cpu)

    async def stream(self, asked: Asked) -> Took:
        self._turn += 1
        name = f"waiting{self._turn}"
        return await streamed(self._project, self._group, self._bootstrap, self._engine, asked, name, self._cpu)

    async def _ask(self, request: Request) -> None:
        await self._engine.generate(request)
