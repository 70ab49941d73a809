"""Sends one question until it is answered or refused: within places, budget and pace, and patient for so long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mira_stream.clock import Monotonic
from mira_stream.errors import DependencyError, EngineError, MiraError
from mira_stream.teaching.cost import Bound, Ledger, bound, expected_prompt_tokens
from mira_stream.teaching.pace import Limits, Pace, backoff_s
from mira_stream.teaching.port import Answer, Question, Teacher

Sleep = Callable[[float], Awaitable[None]]


class Sender:
    """All requests of one run. `retries` counts requests that failed for the moment and were to be sent again."""

    def __init__(self, teacher: Teacher, limits: Limits, ledger: Ledger, now: Monotonic, sleep: Sleep) -> None:
        self.retries = 0
        self._teacher = teacher
        self._limits = limits
        self._ledger = ledger
        self._now = now
        self._sleep = sleep
        self._pace = Pace(limits)
        self._places = asyncio.Semaphore(limits.concurrency)
        self._ended = asyncio.Event()
        self._answered_at = now()
        self._sending: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def answer(self, question: Question, attempt: int, answers: Callable[[], int]) -> Answer:
        """`answers` says how many are in the journal by then (for BudgetReached).

        Raises EngineError when this question is refused or fails for `silent_s` while others are answered,
        BudgetReached, and DependencyError when the teacher is wrong for good or answers nothing for `silent_s`.
        """
        most = bound(question)
        failures, first_failure = 0, 0.0
        async with self._places:
            while True:
                try:
                    await self._room(most, answers)
                    return await self._send(question, attempt, most)
                except MiraError:
                    self._stopping = True
                    raise
                except EngineError as error:
                    if not error.retriable:
                        raise
                    failed_at = self._now()
                    first_failure = first_failure if failures else failed_at
                    failures += 1
                    self._check_patience(error, failed_at, first_failure)
                    pause_s = self._pause_s(error, failed_at, backoff_s(failures, question.key))
                self.retries += 1
                await self._sleep(pause_s)

    async def close(self, tasks: set[asyncio.Task[Any]], drain_s: float) -> None:
        """Send nothing more and end the tasks; those whose request is sent have so many seconds to be answered."""
        self._stopping = True
        for task in tasks - self._sending:
            task.cancel()
        if drain_s and self._sending:
            await asyncio.wait(set(self._sending), timeout=drain_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _room(self, most: Bound, answers: Callable[[], int]) -> None:
        """Wait until the budget surely holds this request, or never will."""
        while not self._ledger.fits(most):
            if not self._ledger.in_flight:
                raise self._ledger.reached(answers())
            self._ended.clear()
            await self._ended.wait()

    async def _send(self, question: Question, attempt: int, most: Bound) -> Answer:
        task = asyncio.current_task()
        assert task is not None
        answer: Answer | None = None
        self._ledger.begin(most)
        try:
            expected = expected_prompt_tokens(question) + question.max_tokens
            wait_s = self._pace.reserve(self._now(), expected)
            while wait_s > 0:
                await self._sleep(wait_s)
                wait_s = self._pace.held(self._now())
            if self._stopping:
                raise asyncio.CancelledError
            self._sending.add(task)
            answer = await self._teacher.ask(question, attempt)
            self._answered_at = self._now()
            self._pace.correct(answer.prompt_tokens + answer.generation_tokens - expected)
            return answer
        finally:
            self._sending.discard(task)
            self._ledger.end(most, *((0, 0) if answer is None else (answer.prompt_tokens, answer.generation_tokens)))
            self._ended.set()

    def _check_patience(self, error: EngineError, failed_at: float, first_failure: float) -> None:
        longest = self._limits.silent_s
        if failed_at - self._answered_at > longest:
            raise DependencyError(
                "teacher_silent",
                f"no answer for {failed_at - self._answered_at:.0f} s: {error}",
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
