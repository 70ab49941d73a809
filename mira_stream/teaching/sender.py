"""Sends one question until it is answered or refused: within places, budget and pace, and patient for so long."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from mira_stream.clock import Monotonic
from mira_stream.errors import DependencyError, EngineError, MiraError
from mira_stream.teaching.cost import Bound, Ledger, bound, expected_prompt_tokens
from mira_stream.teaching.pace import Limits, Pace, backoff_s
from mira_stream.teaching.port import Answer, Question, Teacher
from mira_stream.teaching.silence import Silence

Sleep = Callable[[float], Awaitable[None]]
Tell = Callable[[str], None]
"""Shows a line to whoever waits."""


class Sender:
    """All requests of one run. `retries` counts requests that were sent again after a failure for the moment;
    `patient`: whoever asks goes on asking a teacher that was silent for `limits.silent_s`."""

    def __init__(
        self,
        teacher: Teacher,
        limits: Limits,
        ledger: Ledger,
        now: Monotonic,
        sleep: Sleep,
        tell: Tell,
        *,
        patient: bool = False,
    ) -> None:
        self.retries = 0
        self._teacher = teacher
        self._limits = limits
        self._ledger = ledger
        self._now = now
        self._sleep = sleep
        self._tell = tell
        self._pace = Pace(limits)
        self._places = asyncio.Semaphore(limits.concurrency)
        self._ended = asyncio.Event()
        self._silence = Silence(None if patient else limits.silent_s, now())
        self._under_way = 0
        self._waited_for = 0
        self._stopping = False

    async def answer(self, question: Question, attempt: int, answers: Callable[[], int]) -> Answer:
        """`answers` says how many are in the journal by then (for BudgetReached). What is not sent before `drain`
        waits until it is cancelled.

        Raises EngineError when this question is refused or fails for `silent_s` while others are answered,
        BudgetReached, and DependencyError when the teacher is wrong for good or answers nothing for `silent_s`.
        """
        async with self._places:
            with self.waited_for():
                return await self._until_answered(question, attempt, answers)

    async def _until_answered(self, question: Question, attempt: int, answers: Callable[[], int]) -> Answer:
        most = bound(question)
        failures, first_failure, again = 0, 0.0, False
        while True:
            try:
                await self._room(most, answers)
                return await self._send(question, attempt, most, again=again)
            except MiraError:
                self._stopping = True
                raise
            except EngineError as error:
                failed_at = self._now()
                if not error.retriable:
                    self._silence.answered(failed_at)
                    raise
                first_failure = first_failure if failures else failed_at
                failures += 1
                self._silence.failed(str(error))
                self._check_patience(error, failed_at, first_failure)
                pause_s = self._pause_s(error, failed_at, backoff_s(failures, question.key))
                again = again or error.sent
            await self._sleep(pause_s)

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Within it somebody waits for an answer; a teacher that nobody asks is not silent."""
        self._waited_for += 1
        try:
            yield
        finally:
            self._waited_for -= 1
            if not self._waited_for:
                self._silence.nobody_waits()

    def tell_news(self) -> None:
        """Say what is new of a teacher that answers nothing. To be called every few seconds."""
        if news := self._silence.news(self._now(), self._under_way):
            self._tell(news)

    async def drain(self) -> None:
        """Send nothing more; requests under way have `limits.answer_s` to be answered."""
        self._stopping = True
        if left := self._under_way:
            self._tell(f"stopping: {_answers(left)} under way, up to {self._limits.answer_s:.0f} s; Ctrl-C to stop now")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.answer_s):
                    while left := self._under_way:
                        self._ended.clear()
                        await self._ended.wait()
        finally:
            if left:
                self._tell(f"{_answers(left)} under way thrown away, to be asked for again")

    async def _room(self, most: Bound, answers: Callable[[], int]) -> None:
        """Wait until the budget surely holds this request, or never will."""
        while not self._ledger.fits(most):
            if not self._ledger.in_flight:
                raise self._ledger.reached(answers())
            self._ended.clear()
            await self._ended.wait()

    async def _send(self, question: Question, attempt: int, most: Bound, *, again: bool) -> Answer:
        answer: Answer | None = None
        self._ledger.begin(most)
        try:
            expected = expected_prompt_tokens(question) + question.max_tokens
            wait_s = self._pace.reserve(self._now(), expected)
            while wait_s > 0:
                await self._sleep(wait_s)
                wait_s = self._pace.held(self._now())
            if self._stopping:
                await asyncio.Event().wait()  # until it is cancelled
            answer = await self._ask(question, attempt, again=again)
            self._pace.correct(answer.prompt_tokens + answer.generation_tokens - expected)
            return answer
        finally:
            self._ledger.end(most, *((0, 0) if answer is None else (answer.prompt_tokens, answer.generation_tokens)))
            self._ended.set()

    async def _ask(self, question: Question, attempt: int, *, again: bool) -> Answer:
        self._silence.sent(self._now(), self._under_way)
        self._under_way += 1
        self.retries += again
        try:
            answer = await self._teacher.ask(question, attempt)
        except EngineError as error:
            self.retries -= again and not error.sent
            raise
        finally:
            self._under_way -= 1
        self._silence.answered(self._now())
        return answer

    def _check_patience(self, error: EngineError, failed_at: float, first_failure: float) -> None:
        longest, silent_s = self._limits.silent_s, self._silence.seconds(failed_at)
        if silent_s > longest:
            raise DependencyError(
                "teacher_silent",
                f"no answer for {silent_s:.0f} s: {error}",
                "see that the teacher answers and run the same command again: what was paid for is kept",
            ) from None
        if failed_at - first_failure > longest:
            raise EngineError(f"failed for {failed_at - first_failure:.0f} s: {error}", retriable=False) from None

    def _pause_s(self, error: EngineError, failed_at: float, own_s: float) -> float:
        """Seconds before this question is sent again; a time that the teacher names holds all others too."""
        if error.retry_after_s is None:
            return own_s
        if error.retry_after_s > self._limits.silent_s:
            raise DependencyError(
                "teacher_silent",
                f"the teacher asks to wait {error.retry_after_s:.0f} s: {error}",
                "run the same command again then: what was paid for is kept",
            ) from None
        self._pace.hold(failed_at + error.retry_after_s)
        return max(own_s, error.retry_after_s)


def _answers(count: int) -> str:
    return "1 answer" if count == 1 else f"{count} answers"
