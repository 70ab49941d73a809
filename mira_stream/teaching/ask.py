"""Asks a teacher many questions, many at once, and hands the results out in order.

What holds whatever happens:
 1. An answer is written to the journal the moment it arrives, and handed out only when it is safe there.
 2. A question whose answer is in the journal is not asked again; its answer is read anew.
 3. Before a request is sent, all in flight and this one fit the budget even if each takes what it may.
 4. When asking ends early, by an error or because it is cancelled (Ctrl-C), nothing more is sent; requests already
    sent may still be answered, and are written down. `limits.answer_s` cuts that short, and being cancelled once more.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from itertools import count, takewhile
from typing import Any, Final, Generic, NamedTuple, TypeVar

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import DocumentError, EngineError
from mira_stream.teaching.cost import Budget, Ledger, Price, Spending
from mira_stream.teaching.journal import Journal, question_digest
from mira_stream.teaching.pace import Limits
from mira_stream.teaching.port import Answer, Question, Teacher, Unanswered
from mira_stream.teaching.sender import Sender, Sleep, Tell
from mira_stream.teaching.silence import FAILS_S

T = TypeVar("T")
Read = Callable[[Question, Answer], T]
Progress = Callable[[Spending], None]

WINDOW_A_PLACE: Final = 16
"""Questions begun and not yet handed out, a place of `concurrency`: one slow answer stops the others late."""
NO_BUDGET: Final = Budget()
NO_PRICE: Final = Price()


async def ask_all(
    questions: Iterable[Question],
    teacher: Teacher,
    read: Read[T],
    *,
    journal: Journal,
    limits: Limits,
    budget: Budget = NO_BUDGET,
    price: Price = NO_PRICE,
    progress: Progress | None = None,
    tell: Tell = lambda line: None,
    now: Monotonic = monotonic,
    sleep: Sleep = asyncio.sleep,
) -> AsyncGenerator[tuple[Question, T | Unanswered], None]:
    """Every question with what `read` makes of its answer, in order. Leave it early only through `aclosing`.

    `read` raises DocumentError for an answer that cannot be read: the question is asked again as another attempt,
    at last it is Unanswered, as is one that the teacher refuses. Raises BudgetReached, or DependencyError when the
    teacher can never be asked like this or was silent for `limits.silent_s`; all that was paid for is kept.
    `progress` hears of the spending before every result and once at the end, however that comes; `tell` hears why
    nothing comes from the teacher, and what an end waits for.
    """
    ledger = Ledger(budget, price, journal.prompt_tokens, journal.generation_tokens)
    asking = _Asking(read, Sender(teacher, limits, ledger, now, sleep, tell), teacher, journal, limits, price)
    try:
        async with aclosing(asking.results(iter(questions))) as results:
            async for question, result in results:
                if progress is not None:
                    progress(asking.spending)
                yield question, result
    finally:
        try:
            await asking.close()
        finally:
            if progress is not None:
                progress(asking.spending)


class _Settled(NamedTuple, Generic[T]):
    """What became of a question, and how much of the journal must be safe before it is handed out."""

    result: T | Unanswered
    journal_bytes: int


class _Asking(Generic[T]):
    """One run of `ask_all`: its window of questions, its journal, its spending."""

    def __init__(
        self, read: Read[T], sender: Sender, teacher: Teacher, journal: Journal, limits: Limits, price: Price
    ) -> None:
        self._read = read
        self._sender = sender
        self._teacher = teacher
        self._journal = journal
        self._limits = limits
        self._price = price
        self._spent = Spending()
        self._tasks: set[asyncio.Task[_Settled[T]]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def spending(self) -> Spending:
        cost = self._price.of(self._spent.prompt_tokens, self._spent.generation_tokens)
        return self._spent._replace(retries=self._sender.retries, cost=cost)

    async def results(self, questions: Iterator[Question]) -> AsyncGenerator[tuple[Question, T | Unanswered], None]:
        """Begin questions while the window has room; hand out what is done at its head, once it is safe."""
        begun: deque[tuple[Question, asyncio.Task[_Settled[T]]]] = deque()
        window = WINDOW_A_PLACE * self._limits.concurrency
        left = True
        while left or begun:
            while left and len(begun) < window and not self._failed.done():
                question = next(questions, None)
                left = question is not None
                if question is not None:
                    begun.append((question, self._begin(question)))
                await asyncio.sleep(0)  # making a question takes time: let answers in between
            if begun:
                either: set[asyncio.Future[Any]] = {begun[0][1], self._failed}
                await asyncio.wait(either, timeout=FAILS_S, return_when=asyncio.FIRST_COMPLETED)
            self._sender.tell_news()
            if self._failed.done():
                self._failed.result()
            safe = await self._make_safe([task.result() for _, task in takewhile(lambda one: one[1].done(), begun)])
            while begun and begun[0][1].done() and begun[0][1].result().journal_bytes <= safe:
                question, task = begun.popleft()
                yield question, task.result().result

    async def close(self) -> None:
        """End what is under way; requests already sent have `limits.answer_s` to be answered."""
        try:
            await self._sender.drain()
        finally:
            tasks = set(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not self._failed.cancel() and not self._failed.cancelled():
                self._failed.exception()  # it was raised, or is the same for many
            self._journal.sync()

    async def _make_safe(self, done: list[_Settled[T]]) -> int:
        """Sync the journal if one of these waits for it; so many bytes of it are safe."""
        if any(one.journal_bytes > self._journal.synced for one in done):
            await asyncio.to_thread(self._journal.sync)
        return self._journal.synced

    def _begin(self, question: Question) -> asyncio.Task[_Settled[T]]:
        task = asyncio.create_task(self._settle(question))
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[_Settled[T]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _settle(self, question: Question) -> _Settled[T]:
        """Attempts from the journal or from the teacher, until one can be read."""
        digest = question_digest(question, self._teacher.model, self._teacher.temperature)
        journal_bytes = 0
        unread: DocumentError | None = None
        known = next(n for n in count() if self._journal.find(question, digest, n + 1) is None)
        asked = 0
        most = known + self._limits.attempts if self._limits.retry_unread else max(known, self._limits.attempts)
        for attempt in range(1, most + 1):
            answer = self._journal.find(question, digest, attempt)
            if answer is None:
                try:
                    answer = await self._sender.answer(question, attempt, self._journal.__len__)
                except EngineError as error:
                    return self._unanswered(question, "engine_refused", str(error), attempt, asked + 1, journal_bytes)
                journal_bytes = self._journal.add(question, digest, attempt, answer)
                asked += 1
                self._spent = self._spent.paid(answer)
            else:
                self._spent = self._spent._replace(from_journal=self._spent.from_journal + 1)
            try:
                return _Settled(self._read(question, answer), journal_bytes)
            except DocumentError as error:
                unread = error
        assert unread is not None, "limits.attempts is at least 1"
        return self._unanswered(question, unread.reason, unread.error, most, asked, journal_bytes)

    def _unanswered(
        self, question: Question, reason: str, error: str, attempts: int, asked: int, journal_bytes: int
    ) -> _Settled[T]:
        self._spent = self._spent._replace(unanswered=self._spent.unanswered + 1)
        return _Settled(Unanswered(question.key, reason, error, attempts, asked), journal_bytes)
