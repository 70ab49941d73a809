"""The pipeline: what is due, what runs, and what happens when a step fails or is stopped."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from mira_stream.cli.main import main
from mira_stream.config import load_project
from mira_stream.errors import ConfigError, DependencyError, UsageError
from mira_stream.pipeline import run as running
from mira_stream.pipeline.record import Record
from mira_stream.pipeline.run import Pipeline, Wish
from mira_stream.pipeline.steps import Pace, Step, corpus_steps, group_steps, method_steps
from mira_stream.supervision import guard
from mira_stream.teaching import Answer, Journal, Question
from tests.unit.pipeline_world import TOML, WRITES, Watched, make_root, pipeline, step


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


async def test_steps_run_once_and_again_when_what_they_need_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "in.txt").write_text("1")
    steps = [step(root, "one", WRITES), step(root, "two", WRITES, inputs=(root / "one.out",))]
    first, view = pipeline(root, steps, monkeypatch)
    assert [done.status for done in await first.run()] == ["done", "done"]
    assert ("said", "talk") in view.events
    assert first.done[0].result["spent"]["cost"] == 2.5

    again, _ = pipeline(root, steps, monkeypatch)
    assert [done.status for done in await again.run()] == ["passed", "passed"]

    (root / "in.txt").write_text("2")
    assert pipeline(root, steps, monkeypatch)[0].plan() == [
        ("one", "due", "changed since: in.txt"),
        ("two", "follows", "due if one makes something new"),
    ]
    third, _ = pipeline(root, steps, monkeypatch)
    assert [done.status for done in await third.run()] == ["done", "done"], "what depends on it runs again, too"
    assert (root / "one.out").read_text() == "xx"


async def test_what_others_made_is_kept_unless_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "one.out").write_text("by hand")
    steps = [step(root, "one", WRITES)]
    taken, _ = pipeline(root, steps, monkeypatch)
    assert taken.plan()[0][:2] == ("one", "given")
    assert [(done.status, done.result) for done in await taken.run()] == [("passed", {"state": "given"})]
    assert (root / "one.out").read_text() == "by hand"
    anew, _ = pipeline(root, steps, monkeypatch, Wish(anew=True))
    assert [done.status for done in await anew.run()] == ["done"]
    assert (root / "one.out").read_text() == "by handx"


async def test_anew_holds_until_it_is_done(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "one.out").write_text("old")
    broken, _ = pipeline(root, [step(root, "one", "sys.exit(4)")], monkeypatch, Wish(anew=True))
    with pytest.raises(DependencyError):
        await broken.run()
    later, _ = pipeline(root, [step(root, "one", WRITES)], monkeypatch)
    assert [done.status for done in await later.run()] == ["done"]


async def test_a_failure_is_told_in_its_own_kind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "print('error rubric_missing: no such rubric\\n  do: discover it', file=sys.stderr); sys.exit(3)"
    failing, view = pipeline(root, [step(root, "one", code), step(root, "two", WRITES)], monkeypatch)
    with pytest.raises(ConfigError, match="no such rubric") as caught:
        await failing.run()
    assert "discover it" in caught.value.fix
    assert ("failed", "one") in view.events
    assert not (root / "two.out").exists()


async def test_a_killed_step_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed, _ = pipeline(root, [step(root, "one", "os.kill(os.getpid(), 9)")], monkeypatch)
    with pytest.raises(DependencyError, match="SIGKILL"):
        await killed.run()


async def test_stopped_it_takes_its_step_with_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "print(os.getpid(), file=sys.stderr, flush=True)\n"
        "signal.sigwait([signal.SIGTERM])\n"
        "open(OUT + '.kept', 'w'); print('kept', file=sys.stderr); sys.exit(130)"
    )
    stopped, view = pipeline(root, [step(root, "one", code)], monkeypatch)
    task = asyncio.ensure_future(stopped.run())
    while not any(kind == "said" for kind, _ in view.events):
        await asyncio.wait({task}, timeout=0.01)
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (root / "one.out.kept").exists(), "it had the time to keep what it had"
    assert ("said", "kept") in view.events, "what it says then is shown"
    pid = next(int(line) for kind, line in view.events if kind == "said")
    assert not Path(f"/proc/{pid}").exists()


STOPS_SLOWLY = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print('runs', file=sys.stderr, flush=True)
signal.sigwait([signal.SIGTERM])
print(TALK, file=sys.stderr, flush=True)
again = signal.sigtimedwait([signal.SIGTERM], 2)
open(OUT + ('.cut' if again else '.kept'), 'w')
print('ended', file=sys.stderr)
sys.exit(130)
"""


@pytest.mark.parametrize("talk", ["'x' * 2**21", "'no space left'"])
async def test_a_step_that_cannot_be_followed_has_its_time_to_stop(
    root: Path, monkeypatch: pytest.MonkeyPatch, talk: str
) -> None:
    stopped, view = pipeline(root, [step(root, "one", STOPS_SLOWLY.replace("TALK", talk))], monkeypatch)
    said = view.said

    def full(of: Step, line: str) -> None:
        said(of, line)
        if line == "no space left":
            raise OSError(28, line)

    monkeypatch.setattr(view, "said", full)
    task = asyncio.ensure_future(stopped.run())
    while ("said", "runs") not in view.events:
        await asyncio.wait({task}, timeout=0.01)
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (root / "one.out.kept").exists(), "it was not told a second time"
    if "no space" not in talk:
        assert ("said", "ended") in view.events
        assert any("1,048,576 bytes is left out" in line for _, line in view.events)


async def test_a_stopped_step_has_the_time_that_an_answer_of_its_teacher_may_take(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "STOP_S", 0.0)
    (root / "mira.toml").write_text(TOML + "request_timeout_s = 300.0\n")
    code = (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "print('ready', file=sys.stderr, flush=True)\n"
        "signal.sigwait([signal.SIGTERM]); print('stopping', file=sys.stderr, flush=True)\n"
        "while not os.path.exists(OUT + '.answered'): time.sleep(0.01)\n"
        "open(OUT + '.kept', 'w'); sys.exit(130)"
    )
    stopped, view = pipeline(root, [step(root, "one", code)], monkeypatch)
    task = asyncio.ensure_future(stopped.run())

    async def says(word: str) -> None:
        while ("said", word) not in view.events:
            await asyncio.wait({task}, timeout=0.01)
            assert not task.done()

    await says("ready")
    task.cancel()
    await says("stopping")
    (root / "one.out.answered").touch()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (root / "one.out.kept").exists()


async def test_limits_are_what_all_journals_leave(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of earlier runs and those put aside count; a command counts its own journal by itself."""
    (root / "mira.toml").write_text(TOML + "prompt_price = 250_000.0\n")
    for name, tokens in (("label-text.journal", 100), ("label-qa.journal", 6), ("discover-text.journal.1", 4)):
        with Journal(root / "work" / name) as journal:
            journal.add(Question("q", [], 1), "digest", 1, Answer("", "stop", tokens, 0))
    says = "open(OUT, 'a').write(' '.join(sys.argv[1:]))"
    steps = [step(root, "one", says), step(root, "two", says, stage="distill")]
    await pipeline(root, steps, monkeypatch, Wish(cost_max=6.0, tokens_max=15))[0].run()
    assert (root / "one.out").read_text() == "--max-cost 3.5 --max-tokens 5"
    assert (root / "two.out").read_text() == ""
    with Journal(root / "work" / "retest-text.journal") as journal:
        journal.add(Question("q", [], 1), "digest", 1, Answer("", "stop", 2, 0))
    again = [step(root, "four", says, stage="reliability")]
    await pipeline(root, again, monkeypatch, Wish(tokens_max=120))[0].run()
    assert (root / "four.out").read_text() == "--max-tokens 10", "a re-test asks the teacher, too"
    later = [step(root, "three", says)]
    await pipeline(root, later, monkeypatch, Wish(tokens_max=9))[0].run()
    assert (root / "three.out").read_text() == "--max-tokens 0"


async def test_who_agrees_agrees_for_the_commands_that_would_refuse(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = "open(OUT, 'a').write(' '.join(sys.argv[1:]))"
    steps = [step(root, stage, says, stage=stage) for stage in ("discover", "label", "distill", "reliability")]
    await pipeline(root, steps, monkeypatch, Wish(agreed=True))[0].run()
    assert [one.outputs[0].read_text() for one in steps] == ["--yes", "--yes", "", ""]
    project = load_project(root, {})
    for one in method_steps(project, "text", Pace())[:2]:
        assert main([*one.arguments[2:], "--yes", "--help"]) == 0


async def test_steps_carry_the_mark_of_what_ends_with_the_pipeline(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = step(root, "one", f"open(OUT, 'a').write(os.environ[{guard.MARK!r}])")
    await pipeline(root, [marked], monkeypatch)[0].run()
    assert (root / "one.out").read_text().startswith(f"pipeline.{os.getpid()}.")


def test_a_killed_pipeline_takes_its_steps_with_it() -> None:
    code = (
        "import os, subprocess, sys\n"
        "from mira_stream.pipeline.guarded import guarded\n"
        "with guarded() as environment:\n"
        "    left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], env=environment)\n"
        "    print(left.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert killed.returncode == -9
    place = Path(f"/proc/{int(killed.stdout)}")
    until = time.monotonic() + 30
    while is_alive(place):
        assert time.monotonic() < until, "the step goes on without its pipeline"
        time.sleep(0.05)


def is_alive(place: Path) -> bool:
    """A process that nobody has waited for yet is none."""
    try:
        return (place / "stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def interrupted(*_: object) -> None:
    raise InterruptedError("killed when the answers were put aside and it was not noted")


async def test_a_new_rubric_makes_earlier_answers_void(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "rubric").write_text("1")
    says = "open(OUT, 'a').write(str(sys.argv[1:]) + os.environ['FAILS']); sys.exit(int(os.environ['FAILS']))"
    journal = root / "work" / "label-one.journal"
    rests_on = (root / "rubric",)
    labels = step(root, "one", says, inputs=rests_on, basis=rests_on, kept=(journal, root / "one.out"))

    async def run(fails: str) -> None:
        monkeypatch.setenv("FAILS", fails)
        await pipeline(root, [labels], monkeypatch)[0].run()

    with pytest.raises(DependencyError):
        await run("4")
    (root / "one.out").unlink()
    await run("0")
    assert (root / "one.out").read_text() == "[]0", "what a failed run has kept is gone on with"
    journal.write_text("paid")
    (root / "rubric").write_text("2")
    with monkeypatch.context() as killed:
        killed.setattr(Record, "begin", interrupted)
        with pytest.raises(InterruptedError):
            await run("0")
    with pytest.raises(DependencyError):
        await run("4")
    assert (root / "one.out").read_text() == "[]4", "made with the old rubric, and therefore aside"
    (root / "one.out").unlink()
    await run("0")
    assert (root / "one.out").read_text() == "[]0"
    assert sorted(path.name for path in root.rglob("*.1")) == ["label-one.journal.1", "one.out.1"], "once"


def test_a_damaged_record_is_no_empty_one(root: Path) -> None:
    (root / "work").mkdir()
    (root / "work" / "pipeline.json").write_text("{")
    with pytest.raises(ConfigError, match="pipeline_record"):
        Record(root / "work")


def test_steps_of_a_group_hang_together(root: Path) -> None:
    project = load_project(root, {})
    steps = method_steps(project, "text", Pace())
    assert [one.stage for one in steps] == ["discover", "label", "distill", "reliability"]
    made: set[Path] = set()
    for one in steps:
        own = {path for path in one.inputs if path.is_relative_to(root) and path.suffix != ".toml"}
        assert own - {root / "notes.jsonl"} <= made, f"{one.name} needs what no step before it makes"
        made |= {*one.outputs, *one.watched}
    assert all(str(root) in one.arguments for one in steps)


def test_sources_without_a_group_are_grouped_or_placed(root: Path) -> None:
    assert group_steps(load_project(root, {})) == []
    one = TOML.replace('[sources.faq]\ngroup = "qa"', '[sources.faq]\nfamily = "qa"')
    (root / "mira.toml").write_text(one)
    assert [found.name for found in group_steps(load_project(root, {}))] == ["place faq"]
    (root / "mira.toml").write_text(one.replace('[sources.notes]\ngroup = "text"', '[sources.notes]\nfamily = "text"'))
    assert [found.name for found in group_steps(load_project(root, {}))] == ["group"]


def test_the_plan_of_a_new_project_shows_all_stages(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "mira.toml").write_text('[sources.notes]\nfamily = "text"\npath = "notes.jsonl"\n')
    assert main(["pipeline", "--project", str(root), "--plan", "--json"]) == 0
    said = capsys.readouterr()
    assert [(one["step"].split()[0], one["state"]) for one in orjson.loads(said.out)["plan"]] == [
        ("group", "due"), ("discover", "later"), ("label", "later"), ("distill", "later"), ("reliability", "later"),
    ]  # fmt: skip
    assert "which groups there will be" in said.err
    assert said.err.count("a stand-in that measures features and understands nothing") == 1
    assert Pipeline(root, Wish(until="label"), Watched()).plan()[-1][:2] == ("label of new groups", "later")


def test_sources_of_the_demo_are_made_here(root: Path) -> None:
    assert corpus_steps(load_project(root, {}), ["notes"])[0].outputs == (root.resolve() / "notes.jsonl",)


def test_wishes_nobody_can_fulfil(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="group_unknown"):
        Pipeline(root, Wish(groups=["prose"]), Watched()).plan()
    assert main(["pipeline", "--project", str(root), "--until", "the-end"]) == 2
    assert "stage_unknown" in capsys.readouterr().err
    assert main(["pipeline", "--project", str(root), "--plan", "--json"]) == 0
    assert "discover text" in capsys.readouterr().out
