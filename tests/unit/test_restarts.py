"""A service that dies is started again, later each time, and not for ever."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.cli.up_board import Board
from mira_stream.errors import ConfigError, DependencyError
from mira_stream.supervision.keeping import Keeper
from mira_stream.supervision.restarts import FINAL, Patience, Restarts
from mira_stream.supervision.supervisor import Supervisor
from tests.unit.test_supervise import run_python

__all__ = ["run_python"]
LIVES = "import time; time.sleep(600)"
PATIENCE = Patience(deaths=3, window_s=100.0, first_s=2.0, longest_s=5.0)


@given(st.lists(st.floats(0.0, 2_000.0), min_size=1, max_size=40), st.integers(1, 12))
def test_pauses_grow_to_their_cap_and_so_many_deaths_in_a_window_are_the_last(gaps: list[float], deaths: int) -> None:
    restarts = Restarts(Patience(deaths=deaths, window_s=3600.0, first_s=1.0, longest_s=300.0))
    now_s, times, total = 0.0, list[float](), 0
    for gap in gaps:
        now_s += gap
        times.append(now_s)
        recent = sum(now_s - at_s < 3600.0 for at_s in times)
        wait_s = restarts.died(now_s)
        if recent >= deaths:
            assert wait_s is None
            assert "not started again" in restarts.given_up()
        else:
            assert wait_s == min(300.0, 2.0 ** (recent - 1))
            total += 1
    assert restarts.total == total


def test_what_no_start_mends() -> None:
    assert frozenset({2, 3, 5}) == FINAL


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def dead(supervisor: Supervisor, name: str) -> None:
    await asyncio.wait([supervisor.children[name].ended])


@pytest.mark.usefixtures("run_python")
async def test_a_service_that_dies_is_started_again_when_its_pause_is_over(tmp_path: Path, clock: Clock) -> None:
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 77, changed)
        await keeper.start("score", lambda: [LIVES])
        await keeper.start("export", lambda: [LIVES])
        await keeper.look()
        first, other = keeper.pid("score"), keeper.pid("export")
        supervisor.children["score"].process.kill()
        await dead(supervisor, "score")
        await keeper.look()
        kept = keeper.kept()[0]

        def state() -> str:
            return kept.state

        assert (state(), kept.restarts, kept.died_ms, kept.why) == ("waits", 1, 77, "signal SIGKILL")
        clock.now_s = 1.9
        await keeper.look()
        assert state() == "waits"
        clock.now_s = 2.0
        await keeper.look(hold=True)
        assert state() == "waits", "what it needs is away"
        await keeper.look()
        assert state() == "runs"
        assert keeper.pid("score") != first
        assert (keeper.pid("export"), keeper.kept()[1].restarts) == (other, 0)
        assert changes == 2


@pytest.mark.usefixtures("run_python")
async def test_one_death_too_many_is_the_last_and_is_told_with_its_last_words(tmp_path: Path, clock: Clock) -> None:
    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 0)
        await keeper.start("score", lambda: ["print('Killed by nobody'); raise SystemExit(70)"])
        for _ in range(2):
            await dead(supervisor, "score")
            await keeper.look()
            clock.now_s += 5.0
            await keeper.look()
        await dead(supervisor, "score")
        with pytest.raises(DependencyError, match="exit code 70") as caught:
            await keeper.look()
        assert "Killed by nobody" in caught.value.cause
        assert "3 deaths within 2 min" in caught.value.cause
        assert "nothing is lost" in caught.value.fix
        assert keeper.kept()[0].state == "given_up"


@pytest.mark.usefixtures("run_python")
async def test_a_wrong_configuration_is_not_tried_again(tmp_path: Path, clock: Clock) -> None:
    said = r"print('error student_missing: no folder\n  do: copy it'); raise SystemExit(3)"
    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 0)
        await keeper.start("score", lambda: [said])
        await dead(supervisor, "score")
        with pytest.raises(ConfigError, match="student_missing"):
            await keeper.look()
        assert keeper.kept()[0].restarts == 0


@pytest.mark.usefixtures("run_python")
async def test_what_the_run_can_do_without_is_given_up_and_the_run_goes_on(tmp_path: Path, clock: Clock) -> None:
    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 0)
        await keeper.start("score", lambda: [LIVES])
        await keeper.start("dashboard", lambda: ["raise SystemExit(3)"], vital=False)
        await dead(supervisor, "dashboard")
        await keeper.look()
        await keeper.look()
        assert [one.state for one in keeper.kept()] == ["runs", "given_up"]


@pytest.mark.usefixtures("run_python")
async def test_arguments_are_asked_for_at_each_start(tmp_path: Path, clock: Clock) -> None:
    asked: list[int] = []

    def command() -> list[str]:
        asked.append(len(asked))
        return [LIVES]

    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 0)
        await keeper.start("score", command)
        supervisor.children["score"].process.kill()
        await dead(supervisor, "score")
        await keeper.look()
        assert asked == [0]
        clock.now_s += 1000.0
        await keeper.look()
        assert asked == [0, 1]


@pytest.mark.usefixtures("run_python")
async def test_a_page_that_is_given_up_leaves_the_run_ready_and_a_dead_scorer_does_not(
    tmp_path: Path, clock: Clock
) -> None:
    async with Supervisor(tmp_path) as supervisor:
        board = Board(lambda services, kept: None, "")
        keeper = board.keeper = Keeper(supervisor, PATIENCE, clock, lambda: 0, board.changed)
        await keeper.start("score", lambda: [LIVES])
        await keeper.start("dashboard", lambda: ["raise SystemExit(3)"], vital=False)
        await dead(supervisor, "dashboard")
        await keeper.look()
        assert board.ready().ok
        supervisor.children["score"].process.kill()
        await dead(supervisor, "score")
        await keeper.look()
        assert not board.ready().ok
