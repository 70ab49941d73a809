"""What is said of a teacher that answers nothing: soon, seldom, why, and until when it is waited for."""

import asyncio
import random
from itertools import pairwise
from pathlib import Path

import pytest

from mira_stream.errors import DependencyError, EngineError
from mira_stream.teaching import Answer, Budget, Journal, Limits, Price, Question, ask_all
from mira_stream.teaching.cost import Ledger
from mira_stream.teaching.sender import Sender
from mira_stream.teaching.silence import Silence
from mira_stream.testing.loop import VirtualLoop
from tests.unit.teaching_world import FakeTeacher, echo, questions, read


def told(root: Path, teacher: FakeTeacher, loop: VirtualLoop, silent_s: float = 600.0) -> list[tuple[float, str]]:
    """When what was said, in a run over five questions by the loop's clock."""
    lines: list[tuple[float, str]] = []

    async def run() -> None:
        with Journal(root / "j") as journal:
            async for _ in ask_all(
                questions(5), teacher, read, journal=journal, limits=Limits(2, silent_s=silent_s), now=loop.time,
                tell=lambda line: lines.append((loop.time(), line)),
            ):  # fmt: skip
                pass

    loop.run_until_complete(run())
    return lines


@pytest.mark.parametrize("retry_after_s", [None, 30.0])
def test_within_seconds_it_says_why_and_until_when(tmp_path: Path, retry_after_s: float | None) -> None:
    loop = VirtualLoop(random.Random(1))

    def say(question: Question, attempt: int) -> str:
        if loop.time() < 100:
            raise EngineError("HTTP 429:\n Too Many Requests", retriable=True, retry_after_s=retry_after_s)
        return echo(question, attempt)

    lines = told(tmp_path, FakeTeacher(say), loop)
    assert 5 <= lines[0][0] < 6
    assert lines[0][1] == "no answer from the teacher for 5 s, given up after 600 s: HTTP 429: Too Many Requests"
    times = [time for time, _ in lines[:-1]]
    assert all(later >= 2 * earlier for earlier, later in pairwise(times)), "seldom"
    assert len(times) in (4, 5)
    assert lines[-1][1].startswith("the teacher answers again, after 1")


def test_it_is_said_until_it_is_given_up(tmp_path: Path) -> None:
    loop = VirtualLoop(random.Random(1))
    lines: list[str] = []

    def refuse(question: Question, attempt: int) -> str:
        raise EngineError("connection refused", retriable=True)

    with pytest.raises(DependencyError, match="teacher_silent"):
        lines += [line for _, line in told(tmp_path, FakeTeacher(refuse), loop, silent_s=60.0)]
    assert loop.time() < 130


def test_a_long_answer_is_no_trouble_and_a_longer_one_is_told(tmp_path: Path) -> None:
    loop = VirtualLoop(random.Random(1))

    class Slow(FakeTeacher):
        async def ask(self, question: Question, attempt: int) -> Answer:
            await asyncio.sleep(20 if question.key == "q/0" else 100 if question.key == "q/4" else 0)
            return await super().ask(question, attempt)

    lines = told(tmp_path, Slow(echo), loop)
    assert [line for _, line in lines] == [
        "no answer from the teacher for 60 s, given up after 600 s: 1 request under way",
        "the teacher answers again, after 80 s",
    ]


@pytest.mark.parametrize(("places", "answer_s"), [(1, 45), (8, 45), (16, 70)])
def test_answers_that_all_take_long_are_told_of_once(tmp_path: Path, places: int, answer_s: float) -> None:
    loop = VirtualLoop(random.Random(1))
    lines: list[str] = []

    class Slow(FakeTeacher):
        async def ask(self, question: Question, attempt: int) -> Answer:
            await asyncio.sleep(1000 if question.key == "q/399" else answer_s)
            return await super().ask(question, attempt)

    async def run() -> None:
        with Journal(tmp_path / "j") as journal:
            limits = Limits(places)
            asked = ask_all(
                questions(400), Slow(echo), read, journal=journal, limits=limits, now=loop.time, tell=lines.append
            )
            async for _ in asked:
                pass

    loop.run_until_complete(run())
    assert lines[0].startswith("no answer from the teacher for 3")
    over = lines.index(f"the teacher answers again, after {answer_s} s")
    assert over <= 2
    later = [float(line.partition(" s,")[0].rpartition(" ")[2]) for line in lines[over + 1 : -1]]
    assert later, "one that takes much longer than all before is told of"
    assert 3 * answer_s <= later[0] <= 3 * answer_s + 5
    assert len(later) <= 3


def sender(teacher: FakeTeacher, loop: VirtualLoop, said: list[str]) -> Sender:
    return Sender(
        teacher, Limits(2), Ledger(Budget(), Price(), 0, 0), loop.time, asyncio.sleep, said.append, patient=True
    )


@pytest.mark.parametrize("cancelled", [False, True])
def test_once_nobody_waits_for_an_answer_nothing_is_said_and_the_next_question_begins_anew(cancelled: bool) -> None:
    """The first question fails for the moment, then is refused or dropped; an hour passes; the next fails once."""
    loop = VirtualLoop(random.Random(1))
    left = [EngineError("HTTP 429", retriable=True)]
    left += [] if cancelled else [EngineError("HTTP 400: too long", retriable=False)]
    left += [EngineError("HTTP 500", retriable=True)]

    def say(question: Question, attempt: int) -> str:
        if left:
            raise left.pop()
        return echo(question, attempt)

    async def run() -> None:
        said: list[str] = []
        one = sender(FakeTeacher(say), loop, said)
        first, second = questions(2)
        asking = asyncio.create_task(one.answer(first, 1, lambda: 0))
        if cancelled:
            await asyncio.sleep(0.1)
            asking.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else EngineError):
            await asking
        for _ in range(720):
            await asyncio.sleep(5)
            one.tell_news()
        assert said == []
        assert (await one.answer(second, 1, lambda: 0)).text == "1"

    loop.run_until_complete(run())
    assert not left


def test_a_silence_lasts_while_somebody_waits_between_two_tries_and_no_longer() -> None:
    """As a watch waits, whose document may be taken from it in a pause."""
    loop = VirtualLoop(random.Random(1))

    def refuse(question: Question, attempt: int) -> str:
        raise EngineError("HTTP 500", retriable=True)

    async def run() -> None:
        said: list[str] = []
        teacher = FakeTeacher(refuse)
        one = sender(teacher, loop, said)
        (question,) = questions(1)
        with one.waited_for():
            with pytest.raises(DependencyError, match="teacher_silent"):
                await one.answer(question, 1, lambda: 0)
            assert loop.time() > 600
            asked = len(teacher.asked)
            await asyncio.sleep(30)
            with pytest.raises(DependencyError, match="teacher_silent"):
                await one.answer(question, 1, lambda: 0)
            assert len(teacher.asked) == asked + 1, "still the same silence"
            one.tell_news()
            assert len(said) == 1
        await asyncio.sleep(3600)
        one.tell_news()
        assert len(said) == 1

    loop.run_until_complete(run())


def test_one_that_was_not_asked_was_not_silent_and_one_waited_for_without_end_is_not_given_up() -> None:
    silence = Silence(None, 0.0)
    assert silence.news(1000.0, 0) == ""
    silence.sent(1000.0, 0)
    assert silence.seconds(1001.0) == 1
    silence.failed("HTTP 500: <html>\n<body>")
    assert silence.news(1004.0, 0) == ""
    assert (
        silence.news(1006.0, 0) == "no answer from the teacher for 6 s, waited for without end: HTTP 500: <html> <body>"
    )
    assert silence.news(1007.0, 0) == ""
