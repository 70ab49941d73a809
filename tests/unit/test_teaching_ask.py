"""Asking a teacher: order, attempts, refusals, silence, budgets, resuming, ending early."""

import asyncio
import random
from contextlib import aclosing
from pathlib import Path

import pytest

from mira_stream.errors import BudgetReached, DependencyError, EngineError
from mira_stream.teaching import Answer, Budget, Journal, Limits, Price, Question, Unanswered, ask_all
from mira_stream.testing.loop import VirtualLoop
from tests.unit.teaching_world import LIMITS, Clock, FakeTeacher, echo, questions, read, run


async def test_results_come_in_order_and_no_more_are_asked_at_once_than_may(tmp_path: Path) -> None:
    teacher = FakeTeacher(echo)
    found = await run(tmp_path / "j", teacher, questions(300))
    assert found.results == [(f"q/{i}", i) for i in range(300)]
    assert teacher.at_once == LIMITS.concurrency
    last = found.spending[-1]
    assert (last.asked, last.prompt_tokens, last.generation_tokens) == (300, 3000, 1500)


async def test_what_is_in_the_journal_is_not_asked_again(tmp_path: Path) -> None:
    await run(tmp_path / "j", FakeTeacher(echo), questions(10))
    teacher = FakeTeacher(echo)
    found = await run(tmp_path / "j", teacher, questions(12))
    assert found.results == [(f"q/{i}", i) for i in range(12)]
    assert {key for key, _ in teacher.asked} == {"q/10", "q/11"}
    assert (found.spending[-1].from_journal, found.spending[-1].asked) == (10, 2)


async def test_another_prompt_under_the_same_key_is_another_question(tmp_path: Path) -> None:
    await run(tmp_path / "j", FakeTeacher(echo), questions(1))
    teacher = FakeTeacher(echo)
    await run(tmp_path / "j", teacher, [Question("q/0", [{"role": "user", "content": "other"}], 20)])
    await run(tmp_path / "j", teacher, questions(1, max_tokens=21))
    teacher.temperature = 0.5
    await run(tmp_path / "j", teacher, questions(1))
    assert len(teacher.asked) == 3


async def test_an_unreadable_answer_is_asked_again_then_unanswered_and_never_paid_twice(tmp_path: Path) -> None:
    teacher = FakeTeacher(lambda question, attempt: "7" if attempt == 2 and question.key == "q/0" else "prose")
    found = await run(tmp_path / "j", teacher, questions(2))
    assert found.results[0] == ("q/0", 7)
    assert found.results[1] == ("q/1", Unanswered("q/1", "reply_unreadable", "'prose' is no number", 3, 3))
    assert sorted(teacher.asked) == [("q/0", 1), ("q/0", 2), ("q/1", 1), ("q/1", 2), ("q/1", 3)]
    assert found.spending[-1].unanswered == 1

    again = FakeTeacher(echo)
    kept = (await run(tmp_path / "j", again, questions(2))).results
    assert kept == [("q/0", 7), ("q/1", Unanswered("q/1", "reply_unreadable", "'prose' is no number", 3, 0))]
    assert again.asked == []


async def test_a_mended_teacher_is_asked_again_on_demand_and_only_where_nothing_could_be_read(tmp_path: Path) -> None:
    prose = FakeTeacher(lambda question, attempt: "prose" if question.key == "q/1" else "7")
    await run(tmp_path / "j", prose, questions(2))
    retrying = Limits(2, retry_unread=True)
    still = FakeTeacher(lambda question, attempt: "prose")
    found = await run(tmp_path / "j", still, questions(2), limits=retrying)
    assert found.results[1] == ("q/1", Unanswered("q/1", "reply_unreadable", "'prose' is no number", 6, 3))
    mended = FakeTeacher(echo)
    assert (await run(tmp_path / "j", mended, questions(2), limits=retrying)).results == [("q/0", 7), ("q/1", 1)]
    assert mended.asked == [("q/1", 7)]
    assert (await run(tmp_path / "j", FakeTeacher(echo), questions(2))).results == [("q/0", 7), ("q/1", 1)]


async def test_a_refused_question_is_unanswered_and_the_others_go_on(tmp_path: Path) -> None:
    def say(question: Question, attempt: int) -> str:
        if question.key == "q/1":
            raise EngineError("HTTP 413", retriable=False)
        return echo(question, attempt)

    found = await run(tmp_path / "j", FakeTeacher(say), questions(3))
    assert found.results == [("q/0", 0), ("q/1", Unanswered("q/1", "engine_refused", "HTTP 413", 1, 1)), ("q/2", 2)]


async def test_failures_for_the_moment_back_off_twice_as_long_each_time(tmp_path: Path) -> None:
    left = [EngineError("HTTP 503", retriable=True)] * 4

    def say(question: Question, attempt: int) -> str:
        if left:
            raise left.pop()
        return "1"

    clock = Clock()
    found = await run(tmp_path / "j", FakeTeacher(say, clock), questions(1), clock=clock)
    assert found.results == [("q/0", 1)]
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(clock.slept))
    assert (len(clock.slept), found.spending[-1].retries) == (4, 4)


@pytest.mark.parametrize(("answer_s", "kept"), [(120.0, 4), (60.0, 0)])
def test_asking_that_ends_waits_as_long_as_an_answer_may_take_and_says_what_it_throws_away(
    tmp_path: Path, answer_s: float, kept: int
) -> None:
    loop = VirtualLoop(random.Random(1))
    said: list[str] = []

    class Slow(FakeTeacher):
        async def ask(self, question: Question, attempt: int) -> Answer:
            await asyncio.sleep(100)
            return await super().ask(question, attempt)

    async def run() -> None:
        with Journal(tmp_path / "j") as journal:
            limits = Limits(4, answer_s=answer_s)

            async def ask() -> None:
                asked = ask_all(
                    questions(9), Slow(echo), read, journal=journal, limits=limits, now=loop.time, tell=said.append
                )
                async with aclosing(asked):
                    async for _ in asked:
                        pass

            asking = asyncio.create_task(ask())
            await asyncio.sleep(10)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert len(journal) == kept

    loop.run_until_complete(run())
    assert said[0] == f"stopping: 4 answers under way, up to {answer_s:.0f} s; Ctrl-C to stop now"
    assert said[1:] == ([] if kept else ["4 answers under way thrown away, to be asked for again"])


async def test_only_what_was_sent_counts_as_sent_again(tmp_path: Path) -> None:
    """Before the first request, and after it, the endpoint rests."""
    resting = EngineError("it rests", retriable=True, sent=False)
    left = [resting, resting, EngineError("HTTP 503", retriable=True), EngineError("HTTP 503", retriable=True), resting]

    def say(question: Question, attempt: int) -> str:
        if left:
            raise left.pop()
        return "0"

    found = await run(tmp_path / "j", FakeTeacher(say), questions(1))
    assert found.results == [("q/0", 0)]
    assert found.spending[-1].retries == 2


async def test_a_time_that_the_teacher_names_holds_everybody(tmp_path: Path) -> None:
    clock = Clock()
    left = [EngineError("HTTP 429", retriable=True, retry_after_s=30)]

    def say(question: Question, attempt: int) -> str:
        if left:
            raise left.pop()
        return echo(question, attempt)

    teacher = FakeTeacher(say, clock)
    found = await run(tmp_path / "j", teacher, questions(9), limits=Limits(1), clock=clock)
    assert found.results == [(f"q/{i}", i) for i in range(9)]
    assert min(teacher.times[1:]) >= 1030


@pytest.mark.parametrize("retry_after_s", [None, 10_000])
async def test_a_teacher_silent_for_long_is_given_up_and_what_was_paid_for_is_kept(
    tmp_path: Path, retry_after_s: float | None
) -> None:
    clock = Clock()

    def say(question: Question, attempt: int) -> str:
        if question.key != "q/0":
            raise EngineError("HTTP 503", retriable=True, retry_after_s=retry_after_s)
        return "0"

    with pytest.raises(DependencyError, match="teacher_silent"):
        await run(tmp_path / "j", FakeTeacher(say, clock), questions(9), clock=clock)
    assert clock.time < 1000 + LIMITS.silent_s + 130
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == 1


async def test_one_question_that_always_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    clock = Clock()

    def say(question: Question, attempt: int) -> str:
        if question.key == "q/0":
            raise EngineError("time-out", retriable=True)
        clock.time += 200
        return echo(question, attempt)

    found = await run(tmp_path / "j", FakeTeacher(say, clock), questions(30), limits=Limits(2), clock=clock)
    assert isinstance(found.results[0][1], Unanswered)
    assert found.results[0][1].reason == "engine_refused"
    assert found.results[1:] == [(f"q/{i}", i) for i in range(1, 30)]


async def test_a_teacher_wrong_for_good_ends_it_and_answers_under_way_are_kept(tmp_path: Path) -> None:
    gate = asyncio.Event()

    class Half(FakeTeacher):
        async def ask(self, question: Question, attempt: int):  # type: ignore[no-untyped-def]
            if question.key == "q/3":
                gate.set()
                raise DependencyError("endpoint_refuses", "HTTP 401", "key")
            await gate.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            return await super().ask(question, attempt)

    with pytest.raises(DependencyError, match="401"):
        await run(tmp_path / "j", Half(echo), questions(9))
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == 3


@pytest.mark.parametrize(
    ("budget", "most"), [(Budget(tokens_max=400), 26), (Budget(cost_max=0.4), 26), (Budget(None, 50), 1)]
)
async def test_a_budget_is_never_passed_and_says_how_to_go_on(tmp_path: Path, budget: Budget, most: int) -> None:
    price = Price(1000, 1000)
    teacher = FakeTeacher(echo)
    with pytest.raises(BudgetReached, match="run the same command with a higher --max-") as caught:
        await run(tmp_path / "j", teacher, questions(300), budget=budget, price=price)
    assert caught.value.exit_code == 1
    assert f"behind these {len(teacher.asked)} answers" in caught.value.fix
    assert 0 < len(teacher.asked) <= most
    with Journal(tmp_path / "j") as journal:
        paid = journal.prompt_tokens + journal.generation_tokens
        assert len(journal) == len(teacher.asked)
    assert paid <= (budget.tokens_max or 400)
    # What the journal holds counts: the same command again cannot spend it a second time.
    with pytest.raises(BudgetReached):
        await run(tmp_path / "j", teacher, questions(300), budget=budget, price=price)
    assert len(teacher.asked) == len({key for key, _ in teacher.asked})
    assert len((await run(tmp_path / "j", teacher, questions(300))).results) == 300
    assert len(teacher.asked) == 300


async def test_rates_a_minute_are_kept(tmp_path: Path) -> None:
    clock = Clock()
    teacher = FakeTeacher(echo, clock)
    await run(tmp_path / "j", teacher, questions(60), limits=Limits(8, requests_per_minute=30), clock=clock)
    assert max(sum(start <= time < start + 60 for time in teacher.times) for start in teacher.times) <= 30
    clock = Clock()
    teacher = FakeTeacher(echo, clock)
    await run(tmp_path / "k", teacher, questions(60), limits=Limits(8, tokens_per_minute=300), clock=clock)
    assert max(sum(start <= time < start + 60 for time in teacher.times) for start in teacher.times) <= 300 / 15 + 8


async def test_cancelled_it_keeps_what_came_and_asks_the_rest_later(tmp_path: Path) -> None:
    reached = asyncio.Event()

    class Stuck(FakeTeacher):
        async def ask(self, question: Question, attempt: int):  # type: ignore[no-untyped-def]
            if int(question.key[2:]) >= 50:
                reached.set()
                await asyncio.Event().wait()
            return await super().ask(question, attempt)

    task = asyncio.create_task(run(tmp_path / "j", Stuck(echo), questions(90)))
    await reached.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # it waits for what is under way, and is told not to
    with pytest.raises(asyncio.CancelledError):
        await task
    teacher = FakeTeacher(echo)
    assert len((await run(tmp_path / "j", teacher, questions(90))).results) == 90
    assert 40 <= len(teacher.asked) < 90 - 40
    assert not {key for key, _ in teacher.asked} & {f"q/{i}" for i in range(40)}


async def test_cancelled_it_sends_nothing_more_and_keeps_what_is_under_way(tmp_path: Path) -> None:
    held, let_go = asyncio.Event(), asyncio.Event()

    class Held(FakeTeacher):
        async def ask(self, question: Question, attempt: int):  # type: ignore[no-untyped-def]
            if len(self.asked) >= 10:
                held.set()
                await let_go.wait()
            return await super().ask(question, attempt)

    teacher = Held(echo)
    task = asyncio.create_task(run(tmp_path / "j", teacher, questions(90)))
    await held.wait()
    task.cancel()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == len(teacher.asked) < 20
    again = FakeTeacher(echo)
    assert len((await run(tmp_path / "j", again, questions(90))).results) == 90
    assert len(teacher.asked) + len(again.asked) == 90, "each is asked once in all"


async def test_nothing_is_handed_out_before_it_is_safe(tmp_path: Path) -> None:
    count = 0
    with Journal(tmp_path / "k") as journal:
        async for question, _ in ask_all(questions(200), FakeTeacher(echo), read, journal=journal, limits=LIMITS):
            safe = (tmp_path / "k").read_bytes()[: journal.synced]
            assert b'"key":"%s"' % question.key.encode() in safe
            count += 1
    assert count == 200


async def test_a_bug_in_reading_is_no_silence(tmp_path: Path) -> None:
    def wrong(question: Question, answer: object) -> int:
        raise KeyError("x")

    with Journal(tmp_path / "j") as journal, pytest.raises(KeyError):
        async for _ in ask_all(questions(3), FakeTeacher(echo), wrong, journal=journal, limits=LIMITS):
            pass
