"""Asks the teacher one question at a time for many documents at once: paid once, within a budget, patient or not."""

import asyncio
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import DependencyError, DocumentError, EngineError, StageStopped
from mira_stream.messages import Layout
from mira_stream.scorecard import READ_MIN, Reading, parse
from mira_stream.teaching.ask import Progress
from mira_stream.teaching.cost import Budget, Ledger, Price, Spending
from mira_stream.teaching.journal import Journal, question_digest
from mira_stream.teaching.pace import Limits
from mira_stream.teaching.port import Answer, Question, Teacher
from mira_stream.teaching.sender import Sender, Sleep
from mira_stream.teaching.silence import FAILS_S
from mira_stream.watching.ports import WatchMetrics

log: Final = structlog.get_logger("mira_stream.watch")

SILENT: Final = "teacher_silent"
SILENCE_PAUSE_S: Final = 30.0


class Reply(NamedTuple):
    """A reading, or the reason why there is none; `attempts` and tokens of all that was asked for this document."""

    reading: Reading | None
    reason: str | None
    error: str
    attempts: int
    prompt_tokens: int
    generation_tokens: int


class Desk:
    """All questions of one process. The journal is the caller's, open.

    `patient`: a teacher that is silent is waited for, without end; else the stage stops. `spent`: tokens (prompt,
    generation) that the topic's labels tell of; the budget counts them, or the journal's, whichever are more.
    `progress` hears of this process's spending.
    """

    def __init__(
        self,
        teacher: Teacher,
        journal: Journal,
        limits: Limits,
        budget: Budget,
        price: Price,
        metrics: WatchMetrics,
        *,
        patient: bool,
        spent: tuple[int, int] = (0, 0),
        progress: Progress = lambda spending: None,
        now: Monotonic = monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.teacher = teacher
        self._journal = journal
        self._limits = limits
        self._price = price
        self._metrics = metrics
        self._patient = patient
        self._progress = progress
        self._sleep = sleep
        paid = max(journal.prompt_tokens, spent[0]), max(journal.generation_tokens, spent[1])
        ledger = Ledger(budget, price, *paid)
        self._sender = Sender(teacher, limits, ledger, now, sleep, log.warning, patient=patient)
        self._spent = Spending()

    async def ask(self, question: Question, layout: Layout, names: tuple[str, ...]) -> Reply:
        """Ask until the reply can be read, at most `limits.attempts` times. What is not sent when the desk stops
        waits until it is cancelled.

        Raises BudgetReached, and StageStopped for a teacher that cannot be asked at all or, unless patient, is silent.
        """
        digest = question_digest(question, self.teacher.model, self.teacher.temperature)
        prompt_tokens = generation_tokens = 0
        unread = DocumentError("reply_unreadable", "never asked")
        for attempt in range(1, self._limits.attempts + 1):
            try:
                answer = self._journal.find(question, digest, attempt)
                if answer is None:
                    answer = await self._answer(question, attempt)
                    self._journal.add(question, digest, attempt, answer)
                else:
                    self._count(self._spent._replace(from_journal=self._spent.from_journal + 1))
            except EngineError as error:
                self._count(self._spent._replace(unanswered=self._spent.unanswered + 1))
                return Reply(None, "engine_refused", str(error), attempt, prompt_tokens, generation_tokens)
            prompt_tokens += answer.prompt_tokens
            generation_tokens += answer.generation_tokens
            try:
                reading = read(answer, layout, names)
                return Reply(reading, None, "", attempt, prompt_tokens, generation_tokens)
            except DocumentError as error:
                unread = error
        self._count(self._spent._replace(unanswered=self._spent.unanswered + 1))
        return Reply(
            None, unread.reason, unread.error, self._limits.attempts, prompt_tokens, generation_tokens
        )  # fmt: skip

    async def _answer(self, question: Question, attempt: int) -> Answer:
        with self._sender.waited_for():  # also in the pauses between two silences
            return await self._until_answered(question, attempt)

    async def _until_answered(self, question: Question, attempt: int) -> Answer:
        while True:
            try:
                answer = await self._sender.answer(question, attempt, self._journal.__len__)
            except DependencyError as error:
                if not self._patient or error.code != SILENT:
                    raise StageStopped(error.code, error.cause, error.fix) from None
                log.warning("the teacher is silent; the watch waits, the stream does not", error=error.cause)
                self._metrics.waited()
                await self._sleep(SILENCE_PAUSE_S)
                continue
            self._count(self._spent.paid(answer))
            cost = self._price.of(answer.prompt_tokens, answer.generation_tokens)
            self._metrics.paid(answer.prompt_tokens, answer.generation_tokens, cost)
            return answer

    def _count(self, spent: Spending) -> None:
        self._spent = spent
        cost = self._price.of(spent.prompt_tokens, spent.generation_tokens)
        self._progress(spent._replace(retries=self._sender.retries, cost=cost))

    async def attend(self, stop: asyncio.Event) -> None:
        """Say why nothing comes from the teacher while it does not; once `stop` is set send nothing more, and return
        when what is under way is answered or has had its time."""
        while not stop.is_set():
            self._sender.tell_news()
            with suppress(TimeoutError):
                async with asyncio.timeout(FAILS_S):
                    await stop.wait()
        await self._sender.drain()

    async def sync(self) -> None:
        """Make all that was paid for outlast a power failure."""
        await asyncio.to_thread(self._journal.sync)


def read(answer: Answer, layout: Layout, names: tuple[str, ...]) -> Reading:
    """Raises DocumentError(reply_unreadable) with fewer than READ_MIN of the fifteen scores."""
    reading = parse(answer.text, layout, names)
    if reading.read < READ_MIN:
        raise DocumentError(
            "reply_unreadable",
            f"{reading.read} of 15 scores read, finish_reason {answer.finish_reason}; the reply begins"
            f" {answer.text[:300]!r}",
        )
    return reading
