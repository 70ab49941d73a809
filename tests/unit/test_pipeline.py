"""The pipeline: what is due, what runs, and what happens when a step fails or is stopped."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import orjson
import pytest

from mira_stream.cli.main import main
from mira_stream.config import load_project
from mira_stream.demo import guard
from mira_stream.errors import CheckFailed, ConfigError, DependencyError, UsageError
from mira_stream.parquet import write_table
from mira_stream.pipeline import run as running
from mira_stream.pipeline.record import Record
from mira_stream.pipeline.run import Pipeline, Wish
from mira_stream.pipeline.steps import Pace, Step, corpus_steps, group_steps, method_steps
from mira_stream.teaching import Answer, Journal, Question

TOML = """
[groups.text]
family = "text"
[groups.qa]
family = "qa"
[sources.notes]
group = "text"
path = "notes.jsonl"
[sources.faq]
group = "qa"
path = "faq.jsonl"
[teacher]
model = "some-teacher"
"""


class Watched:
    """A view that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def passed(self, step: Step, why: str) -> None:
        self.events.append(("passed", step.name))

    def started(self, step: Step, why: str) -> None:
        self.events.append(("started", step.name))

    def said(self, step: Step, line: str) -> None:
        self.events.append(("said", line))

    def ended(self, step: Step, seconds: float, failed: bool) -> None:
        self.events.append(("failed" if failed else "done", step.name))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mira.toml").write_text(TOML)
    (tmp_path / "notes.jsonl").write_text("{}")
    (tmp_path / "faq.jsonl").write_text("{}")
    return tmp_path


def step(root: Path, name: str, code: str, **changes: Any) -> Step:
    """A step that runs Python code with OUT set to its one output."""
    out = root / f"{name}.out"
    whole = f"import sys, os, time\nOUT = {str(out)!r}\n{code}"
    return Step(name, "label", "text", ("-c", whole), (root / "in.txt",), {}, (out,))._replace(**changes)


WRITES = (
    "open(OUT, 'a').write('x'); print('talk', file=sys.stderr); print('{\"spent\": {\"cost\": 2.5, \"tokens\": 10}}')"
)


def pipeline(
    root: Path, steps: list[Step], monkeypatch: pytest.MonkeyPatch, wish: Wish | None = None
) -> tuple[Pipeline, Watched]:
    """A pipeline whose steps of group `text` are these."""
    monkeypatch.setattr(running, "method_steps", lambda project, group, pace: steps if group == "text" else [])
    view = Watched()
    return Pipeline(root, wish or Wish(), view), view


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
        "import signal\nprint(os.getpid(), file=sys.stderr, flush=True)\n"
        "try: signal.pause()\nexcept KeyboardInterrupt: open(OUT + '.kept', 'w'); sys.exit(130)"
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
    pid = next(int(line) for kind, line in view.events if kind == "said")
    assert not Path(f"/proc/{pid}").exists()


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


RUBRIC = {"stage": "discover", "stays": True}


def rubric_step(root: Path, code: str = WRITES) -> Step:
    """One that makes a rubric and writes a prompt where there is none."""
    made = step(root, "rubric", code, **RUBRIC)
    return made._replace(watched=(*made.outputs, root / "prompt.txt"))


async def test_a_given_rubric_stays_whatever_its_sources_hold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "in.txt").write_text("1")
    out = root / "rubric.out"
    out.write_text("imported")
    for content in ("1", "2", "3"):
        (root / "in.txt").write_text(content)
        run, _ = pipeline(root, [rubric_step(root)], monkeypatch)
        name, state, why = run.plan()[0]
        assert (name, state) == ("rubric", "given")
        assert "--rediscover makes another rubric" in why
        assert [done.result for done in await run.run()] == [{"state": "given"}]
        assert out.read_text() == "imported"
    out.unlink()
    assert (await pipeline(root, [rubric_step(root)], monkeypatch)[0].run())[0].status == "done"
    assert pipeline(root, [rubric_step(root)], monkeypatch)[0].plan()[0].state == "done"


async def test_a_rubric_of_ones_own_stays_until_asked_for_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "in.txt").write_text("1")
    steps = [rubric_step(root), step(root, "two", WRITES, inputs=(root / "in.txt", root / "rubric.out"))]
    await pipeline(root, steps, monkeypatch)[0].run()
    (root / "in.txt").write_text("2")
    run, _ = pipeline(root, steps, monkeypatch)
    assert [row.state for row in run.plan()] == ["kept", "due"]
    assert "changed since: in.txt" in run.plan()[0].why
    assert [done.status for done in await run.run()] == ["passed", "done"]

    broken = [rubric_step(root, "sys.exit(4)"), steps[1]]
    with pytest.raises(DependencyError):
        await pipeline(root, broken, monkeypatch, Wish(rediscover=True))[0].run()
    assert pipeline(root, steps, monkeypatch)[0].plan()[0].state == "due", "asked for, until it is done"
    assert [done.status for done in await pipeline(root, steps, monkeypatch)[0].run()] == ["done", "done"]
    assert (root / "rubric.out").read_text() == "xx"

    assert pipeline(root, steps, monkeypatch, Wish(rediscover=True))[0].plan()[0].state == "due"
    assert pipeline(root, steps, monkeypatch)[0].plan()[0].state == "done", "a plan changes nothing"
    for name in ("rubric.out", "prompt.txt"):
        (root / name).write_text("by hand")
        assert pipeline(root, steps, monkeypatch)[0].plan()[0].state == "given"


async def test_labels_that_other_hands_changed_are_made_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = step(root, "one", WRITES)
    labels = labels._replace(watched=labels.outputs)
    await pipeline(root, [labels], monkeypatch)[0].run()
    assert pipeline(root, [labels], monkeypatch)[0].plan()[0].state == "done"
    (root / "one.out").write_text("fewer")
    assert pipeline(root, [labels], monkeypatch)[0].plan()[0][1:] == ("due", "other hands changed one.out")


async def test_what_was_begun_and_not_finished_is_not_given(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = step(root, "one", "open(OUT, 'w').write('half'); os.kill(os.getpid(), 9)")
    with pytest.raises(DependencyError):
        await pipeline(root, [half], monkeypatch)[0].run()
    assert pipeline(root, [half], monkeypatch)[0].plan()[0].state == "due"


def paid_labels(root: Path) -> list[Step]:
    """A rubric, labels that rest on it, and the journal of their answers."""
    journal = root / "work" / "label-text.journal"
    with Journal(journal) as opened:
        opened.add(Question("q", [], 1), "digest", 1, Answer("", "stop", 100, 20))
    rubric = rubric_step(root)
    basis = rubric.outputs
    return [rubric, step(root, "labels", WRITES, inputs=basis, basis=basis, kept=(journal,))]


async def test_labels_that_were_paid_for_are_asked_again_only_if_agreed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = paid_labels(root)
    (root / "rubric.out").write_text("mine")
    await pipeline(root, steps, monkeypatch)[0].run()
    (root / "rubric.out").write_text("another")
    run, view = pipeline(root, steps, monkeypatch)
    (void,) = run.void()
    assert void == "labels of text took 120 tokens of the teacher, and its rubric or prompt is another since"
    with pytest.raises(CheckFailed, match="labels_void") as caught:
        await run.run()
    assert "--yes" in caught.value.fix
    assert view.events == []
    assert (root / "labels.out").read_text() == "x"
    agreed, _ = pipeline(root, steps, monkeypatch, Wish(agreed=True))
    assert [done.status for done in await agreed.run()] == ["passed", "done"]
    assert (root / "work" / "label-text.journal.1").exists()
    assert pipeline(root, steps, monkeypatch)[0].void() == [], "what is aside is no part of it"


async def test_a_rubric_anew_may_void_labels_and_a_limit_agrees(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = paid_labels(root)
    (root / "rubric.out").write_text("mine")
    await pipeline(root, steps, monkeypatch)[0].run()
    for wish in (Wish(rediscover=True), Wish(anew=True)):
        with pytest.raises(CheckFailed, match="its rubric is to be discovered anew"):
            await pipeline(root, steps, monkeypatch, wish)[0].run()
    assert (root / "rubric.out").read_text() == "mine"
    assert pipeline(root, steps, monkeypatch, Wish(rediscover=True, until="discover"))[0].void() == []
    limited, _ = pipeline(root, steps, monkeypatch, Wish(rediscover=True, tokens_max=10**6))
    assert [done.status for done in await limited.run()] == ["done", "done"]


async def test_labels_in_the_way_are_told_before_anything_is_paid(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "labels").mkdir()
    write_table(root / "labels/text.parquet", {"view": "string"}, {"view": ["a"]})
    run, view = pipeline(root, [step(root, "one", WRITES)], monkeypatch)
    with pytest.raises(ConfigError, match="labels_in_the_way") as caught:
        await run.run()
    assert caught.value.fix == f"mv {root / 'labels/text.parquet'} {root / 'work' / 'labels-text.parquet'}"
    assert view.events == []


async def test_a_source_that_comes_later_is_labelled_with_the_rubric_that_is_there(root: Path) -> None:
    """The real commands: the rubric stays, and only what is new is asked about."""
    demo = Path(guard.__file__).parent / "project"
    for part in ("rubrics/text.jsonl", "prompts/text/system.txt"):
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).write_bytes((demo / part).read_bytes())
    toml = '[groups.text]\nfamily = "text"\n[sources.notes]\ngroup = "text"\npath = "notes.jsonl"\n'
    (root / "mira.toml").write_text(toml)

    def write(name: str, count: int) -> None:
        rows = [{"id": f"{name}{i}", "text": f"{name} number {i} says {i * 7} things"} for i in range(count)]
        (root / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    async def run() -> dict[str, Any]:
        view = Watched()
        done = await Pipeline(root, Wish(until="label"), view).run()
        said = [what for kind, what in view.events if kind == "said"]
        stand_in, estimate = "teacher: featurejudge, a stand-in", "answers in the journal"
        (first,) = [said.index(line) for line in said if line.startswith(stand_in)]
        assert first < min(said.index(line) for line in said if estimate in line), "before it is asked"
        assert [one.status for one in done] == ["passed", "done"]
        assert done[0].result == {"state": "given"}
        return done[1].result

    write("notes", 30)
    first = await run()
    assert first["asked"] == first["training"] + first["heldout"] > 10
    assert (root / "prompts/text/user.txt").is_file(), "one that was missing is the shipped one"
    write("more", 12)
    (root / "mira.toml").write_text(toml + '[sources.more]\ngroup = "text"\npath = "more.jsonl"\n')
    second = await run()
    assert second["from_journal"] == first["asked"]
    assert 0 < second["asked"] <= 12
    write("notes", 31)
    assert (await run())["asked"] <= 1


@pytest.fixture
def cloned(root: Path) -> Path:
    """The demo's project as a clone has it: rubric, prompt, student and table are there, work/ is not."""
    demo = Path(guard.__file__).parent / "project"
    for part in ("rubrics", "prompts", "students", "reliability", "labels"):
        copytree(demo / part, root / part)
    (root / "mira.toml").write_text(
        '[groups.text]\nfamily = "text"\n[sources.notes]\ngroup = "text"\npath = "n.jsonl"\n'
    )
    (root / "n.jsonl").write_bytes(
        b"".join(orjson.dumps({"id": str(i), "text": f"note {i}"}) + b"\n" for i in range(20))
    )
    return root


async def test_labels_that_nothing_reads_are_not_bought(cloned: Path) -> None:
    for _ in range(2):
        run = Pipeline(cloned, Wish(), Watched())
        assert [row.state for row in run.plan()] in (
            ["given", "unneeded", "given", "given"], ["given", "unneeded", "given", "done"],
        )  # fmt: skip
        assert "nothing reads it: distill text, reliability text are there" in run.plan()[1].why
        assert [done.status for done in await run.run()] == ["passed"] * 4
        assert not (cloned / "work" / "label-text.journal").exists()
    assert Pipeline(cloned, Wish(anew=True, agreed=True), Watched()).plan()[1].state == "due"
    (cloned / "reliability/text.json").unlink()
    plan = Pipeline(cloned, Wish(), Watched()).plan()
    assert [row.state for row in plan] == ["given", "due", "given", "due"], "a table is measured on labels"


@pytest.mark.parametrize("student_too", [True, False])
async def test_a_student_or_table_of_another_rubric_is_refused_before_labels_are_paid(
    cloned: Path, student_too: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    rubric = cloned / "rubrics/text.jsonl"
    rubric.write_text(rubric.read_text().replace('"created_by":"', '"created_by":"by hand, after ', 1))
    if not student_too:
        rmtree(cloned / "students/text")
    code = "student_rubric" if student_too else "reliability_rubric"
    view = Watched()
    with pytest.raises(ConfigError, match=code) as caught:
        await Pipeline(cloned, Wish(), view).run()
    assert view.events == []
    assert "the pipeline then makes them" in caught.value.fix
    assert main(["pipeline", "--project", str(cloned), "--plan", "--json"]) == 0
    said = capsys.readouterr()
    assert [one["code"] for one in orjson.loads(said.out)["refused"]] == [code]
    assert "refused: " in said.err
    assert Pipeline(cloned, Wish(until="label"), Watched()).hindered() == [], "who wants labels alone gets them"
    assert Pipeline(cloned, Wish(anew=True), Watched()).hindered() == []


async def test_a_rubric_is_not_discovered_beside_a_student_of_another(cloned: Path) -> None:
    with pytest.raises(ConfigError, match="given_rubric"):
        await Pipeline(cloned, Wish(rediscover=True), Watched()).run()
    (cloned / "rubrics/text.jsonl").unlink()
    view = Watched()
    with pytest.raises(ConfigError, match="given_rubric"):
        await Pipeline(cloned, Wish(), view).run()
    assert view.events == []


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
