"""A service that dies is started again, later each time, and not for ever."""

import asyncio
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.cli.up_board import Board
from mira_stream.errors import ConfigError, DependencyError, UsageError
from mira_stream.supervision import guard, still
from mira_stream.supervision.keeping import GONE_S, Keeper
from mira_stream.supervision.pulse import EVERY_S, MISSED_MIN, START_S, Beat, Pulse, missed_max
from mira_stream.supervision.restarts import FINAL, Patience, Restarts
from mira_stream.supervision.still import STACK_S, state_of
from mira_stream.supervision.supervisor import Child, Supervisor
from tests.unit.test_supervise import run_python, until

__all__ = ["run_python"]
LIVES = "import time; time.sleep(600)"
BLOCKED = """
import time
from mira_stream.streaming.service import run_service
def the_lock_of_a_library():
    print("in it", flush=True)
    time.sleep(600)
async def main(stop):
    the_lock_of_a_library()
run_service(main)
"""
STILL = Beat(up=False, lives=False)
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


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40), st.integers(0, 6))
def test_who_has_come_up_and_misses_so_many_beats_in_a_row_stands_still(
    beats: list[tuple[bool, bool]], missed_max: int
) -> None:
    pulse, up, missed = Pulse(missed_max), False, 0
    for says_up, lives in beats:
        up = up or says_up
        missed = 0 if lives else missed + 1
        assert pulse.beat(Beat(says_up, lives)) == (up and missed >= missed_max > 0)


def test_who_never_comes_up_is_not_waited_for_for_ever() -> None:
    pulse = Pulse(2)
    beats = [pulse.beat(Beat(up=False, lives=False)) for _ in range(round(START_S / EVERY_S))]
    assert beats == [False] * (len(beats) - 1) + [True]


def test_the_time_of_missed_beats() -> None:
    assert [missed_max(seconds) for seconds in (0.0, EVERY_S * MISSED_MIN, 30.0)] == [0, MISSED_MIN, 6]


@pytest.mark.parametrize("seconds", [0.1, EVERY_S, EVERY_S * (MISSED_MIN - 1)])
def test_one_missed_answer_kills_nobody(seconds: float) -> None:
    with pytest.raises(UsageError, match="frozen_too_short"):
        missed_max(seconds)


@pytest.mark.usefixtures("run_python")
async def test_who_stands_still_is_killed_and_started_again_like_one_that_died(tmp_path: Path, clock: Clock) -> None:
    """Stopped by SIGSTOP, as a swapped-out or looping process stands; one that has not come up yet is left alone."""
    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 5, missed_max=2)
        await keeper.start("score", lambda: [LIVES])
        first = keeper.pid("score")
        for _ in range(9):
            keeper.kill_if_still("score", first, STILL)
        keeper.kill_if_still("score", first, Beat(up=True, lives=True))
        supervisor.children["score"].process.send_signal(signal.SIGSTOP)
        await until(lambda: state_of(first) == "T")
        keeper.kill_if_still("score", first, STILL)
        keeper.kill_if_still("score", first + 1, STILL)
        clock.now_s = STACK_S
        await keeper.look()
        assert keeper.kept()[0].restarts == 0, "one beat is missed, and one of another process"
        keeper.kill_if_still("score", first, STILL)
        clock.now_s = 2 * STACK_S
        await keeper.look()
        await dead(supervisor, "score")
        await keeper.look()
        kept = keeper.kept()[0]
        assert (kept.state, kept.restarts) == ("waits", 1)
        assert kept.why == (
            "it stood still: /livez failed 2 times in a row, 10 s; it wrote no stack: it is stopped (state T: SIGSTOP)"
            "; up --frozen-s N waits longer, 0 for ever"
        )
        clock.now_s += 2.0
        await keeper.look()
        assert keeper.kept()[0].state == "runs"
        for _ in range(9):
            keeper.kill_if_still("score", keeper.pid("score"), STILL)
        clock.now_s += STACK_S
        await keeper.look()
        assert not supervisor.children["score"].ended.done(), "its new life has not come up yet"


@pytest.mark.usefixtures("run_python")
async def test_a_service_that_stands_still_says_where_before_it_is_killed(tmp_path: Path, clock: Clock) -> None:
    """A service of `run_service` whose loop is blocked for good: the stack in its log names the line's function."""
    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 5, missed_max=1)
        await keeper.start("score", lambda: [BLOCKED])
        child = supervisor.children["score"]
        await until(lambda: "in it" in child.log.read_text())
        keeper.kill_if_still("score", child.process.pid, Beat(up=True, lives=False))
        await until(lambda: "in the_lock_of_a_library" in child.log.read_text())
        clock.now_s = STACK_S - 0.1
        await keeper.look()
        assert not child.ended.done(), "it goes on behind the stack, and has its time for it"
        clock.now_s = STACK_S
        await keeper.look()
        await dead(supervisor, "score")
        await keeper.look()
        kept = keeper.kept()[0]
        assert (kept.state, child.code) == ("waits", -signal.SIGKILL)
        assert f"where, says the stack in {child.log}; up --frozen-s N" in kept.why


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.usefixtures("run_python")
async def test_a_log_that_was_taken_away_ends_no_run(tmp_path: Path, clock: Clock, frozen: bool) -> None:
    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 5, missed_max=1)
        await keeper.start("score", lambda: [LIVES])
        child = supervisor.children["score"]
        child.log.unlink()
        if frozen:
            keeper.kill_if_still("score", child.process.pid, Beat(up=True, lives=False))
            clock.now_s = STACK_S
            await keeper.look()
        else:
            child.process.kill()
        await dead(supervisor, "score")
        await keeper.look()
        kept = keeper.kept()[0]
        assert kept.state == "waits"
        assert ("its log was taken away" in kept.why) == frozen
        clock.now_s += 2.0
        await keeper.look()
        assert keeper.kept()[0].state == "runs"


@pytest.mark.usefixtures("run_python")
async def test_what_sigkill_does_not_end_is_told_and_another_is_started(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for state D: the signals do not reach it."""
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    async with Supervisor(tmp_path) as supervisor:
        board = Board(lambda services, kept: None, "")
        keeper = board.keeper = Keeper(supervisor, PATIENCE, clock, lambda: 5, changed, missed_max=1)
        await keeper.start("score", lambda: [BLOCKED])
        child = supervisor.children["score"]
        with monkeypatch.context() as held:
            held.setattr(still, "state_of", lambda process: "D")
            held.setattr(Child, "signal_group", lambda self, number: None)
            keeper.kill_if_still("score", child.process.pid, Beat(up=True, lives=False))
            clock.now_s = STACK_S
            await keeper.look()
            clock.now_s += guard.KILLED_S - 0.1
            await keeper.look()
            assert keeper.kept()[0].state == "runs"
            clock.now_s += 0.1
            await keeper.look()
            kept = keeper.kept()[0]
            assert (kept.state, kept.restarts, kept.died_ms, changes) == ("waits", 1, 5, 1)
            assert "SIGKILL did not end it in 30 s: it waits in the kernel (state D" in kept.why
            assert not board.ready().ok
        await keeper.look()
        assert keeper.kept()[0].why == kept.why
        clock.now_s += 2.0 + GONE_S
        await keeper.look()
        assert keeper.kept()[0].state == "runs"
        assert keeper.pid("score") != child.process.pid


def test_a_stop_waits_no_longer_than_its_bound_for_what_cannot_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(guard, "marked", lambda run: [1 << 30])
    assert guard.stop_all("a-run", 5.0, waited.append) == [1 << 30]
    assert sum(waited) == pytest.approx(5.0 + guard.KILLED_S, abs=0.1)


def test_a_stop_ends_what_is_just_being_started_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is empty at the first look, as /proc shows it in the middle of an exec."""
    looks, sent = iter([[], [7], [7], [7, 8], [], [9], [], [], []]), list[tuple[int, int]]()
    monkeypatch.setattr(guard, "marked", lambda run: next(looks))
    monkeypatch.setattr("mira_stream.supervision.guard.os.kill", lambda process, number: sent.append((process, number)))
    assert guard.stop_all("a-run", 5.0, lambda _: None) == [7, 8, 9]
    assert sent == [(process, signal.SIGTERM) for process in (7, 8, 9)], "told once"
    assert next(looks, None) is None


@pytest.mark.usefixtures("run_python")
async def test_nothing_of_the_old_life_is_left_when_the_new_one_starts(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine in a session of its own, as a model's may be, is out of reach of the service's process group."""
    engine = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); print('up', flush=True); time.sleep(600)"  # fmt: skip  # noqa: E501
    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 0)
        await keeper.start("score", lambda: [engine])
        await keeper.start("export", lambda: [LIVES])
        child = supervisor.children["score"]
        await until(lambda: len(guard.marked(child.life, guard.LIFE)) == 2)
        child.process.kill()
        await dead(supervisor, "score")
        await keeper.look()
        clock.now_s = 2.0
        with monkeypatch.context() as held:
            held.setattr(Child, "kill_left", lambda self: [1234] if self is child else [])
            await keeper.look()
            assert keeper.kept()[0].state == "waits", "it holds the GPU's memory still"
        await keeper.look()
        assert keeper.kept()[0].state == "waits", "killed just now"
        await until(lambda: guard.marked(child.life, guard.LIFE) == [])
        await keeper.look()
        assert keeper.kept()[0].state == "runs"
        assert keeper.kept()[1].restarts == 0


@pytest.mark.usefixtures("run_python")
async def test_what_cannot_be_killed_is_waited_for_no_longer_than_its_bound(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 0)
        await keeper.start("score", lambda: [LIVES])
        supervisor.children["score"].process.kill()
        await dead(supervisor, "score")
        await keeper.look()
        monkeypatch.setattr(Child, "kill_left", lambda self: [1234])
        clock.now_s = 2.0 + GONE_S - 0.1
        await keeper.look()
        assert keeper.kept()[0].state == "waits"
        clock.now_s = 2.0 + GONE_S
        await keeper.look()
        assert keeper.kept()[0].state == "runs"


@pytest.mark.usefixtures("run_python")
async def test_a_start_that_fails_counts_as_a_death(tmp_path: Path, clock: Clock) -> None:
    async with Supervisor(tmp_path) as supervisor:
        keeper = Keeper(supervisor, PATIENCE, clock, lambda: 0)
        await keeper.start("score", lambda: [LIVES])
        supervisor.children["score"].process.kill()
        await dead(supervisor, "score")
        await keeper.look()
        supervisor.logs = tmp_path / "gone"
        clock.now_s = 2.0
        await keeper.look()
        kept = keeper.kept()[0]
        assert (kept.state, kept.restarts) == ("waits", 2)
        assert kept.why.startswith("it could not be started: FileNotFoundError")
        clock.now_s = 7.0
        with pytest.raises(DependencyError, match=r"(?s)it could not be started.*3 deaths"):
            await keeper.look()
