"""A teacher made of a function and a clock that moves only when somebody sleeps."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from mira_stream.errors import DocumentError
from mira_stream.teaching import Answer, Budget, Journal, Limits, Price, Question, Spending, Unanswered, ask_all

Say = Callable[[Question, int], str]
LIMITS = Limits(concurrency=4)


class Clock:
    """Time for `now` and `sleep`: sleeping takes no time, and moves it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        until = self.time + seconds
        self.slept.append(seconds)
        await asyncio.sleep(0)
        self.time = max(self.time, until)


class FakeTeacher:
    """Answers `say(question, attempt)` after some turns of the loop; counts what it is asked."""

    model = "fake"
    temperature = 0.0
    prompt_tokens = 10

    def __init__(self, say: Say, clock: Clock | None = None) -> None:
        self._say = say
        self._clock = clock or Clock()
        self.asked: list[tuple[str, int]] = []
        self.times: list[float] = []
        self.at_once = 0
        self._open = 0

    async def ask(self, question: Question, attempt: int) -> Answer:
        self.asked.append((question.key, attempt))
        self.times.append(self._clock.now())
        self._open += 1
        self.at_once = max(self.at_once, self._open)
        try:
            for _ in range(8):
                await asyncio.sleep(0)
            return Answer(self._say(question, attempt), "stop", self.prompt_tokens, 5)
        finally:
            self._open -= 1


class Run(NamedTuple):
    results: list[tuple[str, int | Unanswered]]
    spending: list[Spending]


def questions(count: int, max_tokens: int = 20) -> list[Question]:
    return [Question(f"q/{i}", [{"role": "user", "content": f"what is {i}?"}], max_tokens) for i in range(count)]


def read(question: Question, answer: Answer) -> int:
    if not answer.text.isdecimal():
        raise DocumentError("reply_unreadable", f"{answer.text!r} is no number")
    return int(answer.text)


def echo(question: Question, attempt: int) -> str:
    return question.key.removeprefix("q/")


async def run(
    path: Path,
    teacher: FakeTeacher,
    asked: Iterable[Question],
    *,
    limits: Limits = LIMITS,
    budget: Budget = Budget(),  # noqa: B008
    price: Price = Price(),  # noqa: B008
    clock: Clock | None = None,
) -> Run:
    """All results of one run over a journal."""
    clock = clock or Clock()
    found = Run([], [])
    with Journal(path) as journal:
        answers = ask_all(
            asked,
            teacher,
            read,
            journal=journal,
            limits=limits,
            budget=budget,
            price=price,
            progress=found.spending.append,
            now=clock.now,
            sleep=clock.sleep,
        )
        async with aclosing(answers):
            async for question, result in answers:
                found.results.append((question.key, result))
    return found
