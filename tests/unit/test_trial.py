"""The trial finds who kills the engine, in few deaths, and nobody else."""

from math import ceil, log2

from hypothesis import given
from hypothesis import strategies as st

from mira_stream.scoring.trial import Trial


def try_all(calls: list[int], poison: set[int]) -> tuple[list[int], int, set[int]]:
    """An engine that dies whenever one of `poison` is among those in flight, before it answers anybody: (convicted,
    deaths, answered)."""
    trial, waiting, answered = Trial(), list(calls), set[int]()
    convicted: list[int] = []
    deaths = 0
    while waiting:
        running = [call for call in waiting if trial.may_run(call)]
        assert running, "nobody may run, and somebody waits"
        if poison & set(running):
            deaths += 1
            guilty = trial.died(running)
            if guilty is None:
                continue
            convicted.append(guilty)
            running = [guilty]
        else:
            answered |= set(running)
        for call in running:
            trial.over(call)
            waiting.remove(call)
    assert not trial.is_on
    return convicted, deaths, answered


@given(st.integers(1, 200), st.data())
def test_one_poison_is_found_in_few_deaths_and_its_neighbours_are_answered(number: int, data: st.DataObject) -> None:
    poison = data.draw(st.integers(0, number - 1))
    convicted, deaths, answered = try_all(list(range(number)), {poison})
    assert convicted == [poison]
    assert answered == set(range(number)) - {poison}
    assert deaths <= max(2, ceil(log2(number)) + 1)


@given(st.integers(1, 60), st.data())
def test_several_poisons_are_all_found_and_nobody_else(number: int, data: st.DataObject) -> None:
    poison = data.draw(st.sets(st.integers(0, number - 1)))
    convicted, deaths, answered = try_all(list(range(number)), poison)
    assert sorted(convicted) == sorted(poison)
    assert answered == set(range(number)) - poison
    assert deaths <= len(poison) * max(2, ceil(log2(number)) + 1)


def test_a_death_by_chance_convicts_nobody() -> None:
    trial = Trial()
    assert trial.died([7]) is None
    assert trial.may_run(7)
    assert not trial.may_run(8)
    trial.over(7)
    assert trial.may_run(8)


def test_a_suspect_that_is_given_up_holds_nobody_back() -> None:
    trial = Trial()
    trial.died([1, 2, 3])
    assert [call for call in (1, 2, 3) if trial.may_run(call)] == [1, 2]
    trial.over(1)
    trial.over(2)
    assert trial.may_run(3)
    assert not trial.may_run(4)
    trial.over(3)
    assert trial.may_run(4)
