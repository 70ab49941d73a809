"""What the pipeline keeps: rubrics that are there, labels that were paid for, students and tables that were given."""

import asyncio
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import orjson
import pytest

import mira_stream.demo
from mira_stream.cli.main import main
from mira_stream.errors import CheckFailed, ConfigError, DependencyError
from mira_stream.parquet import write_table
from mira_stream.pipeline.run import Pipeline, Wish
from mira_stream.pipeline.steps import Step
from mira_stream.teaching import Answer, Journal, Question
from tests.unit.pipeline_world import WRITES, Watched, make_root, pipeline, step


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


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
    demo = Path(mira_stream.demo.__file__).parent / "project"
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
    demo = Path(mira_stream.demo.__file__).parent / "project"
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


def test_labels_of_another_rubric_or_prompt_are_refused_by_the_plan(
    cloned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels of `mira-stream label`, of which the pipeline has no record."""
    for part in ("students/text", "reliability/text.json"):
        rmtree(cloned / part) if (cloned / part).is_dir() else (cloned / part).unlink()
    rubric, user = cloned / "rubrics/text.jsonl", cloned / "prompts/text/user.txt"
    assert main(["label", "--group", "text", "--project", str(cloned)]) == 0
    capsys.readouterr()

    def refused() -> list[str]:
        assert main(["pipeline", "--project", str(cloned), "--plan", "--json"]) == 0
        said = capsys.readouterr()
        found = orjson.loads(said.out)["refused"]
        assert all(f"label --group text --project {cloned} --anew" in one["fix"] for one in found)
        return [one["code"] for one in found]

    assert [row.state for row in Pipeline(cloned, Wish(), Watched()).plan()] == ["given", "given", "due", "due"]
    assert refused() == []
    before, edited = user.read_text(), rubric.read_text().replace('"created_by":"', '"created_by":"by hand, after ', 1)
    user.write_text(f"Be strict.\n{before}")
    assert refused() == ["prompt_mismatch"]
    user.write_text(before)
    rubric.write_text(edited)
    assert refused() == ["rubric_mismatch"]
    view = Watched()
    with pytest.raises(ConfigError, match="rubric_mismatch"):
        asyncio.run(Pipeline(cloned, Wish(), view).run())
    assert view.events == []
    assert Pipeline(cloned, Wish(until="label"), Watched()).hindered() == [], "nobody goes on with them"
    with pytest.raises(ConfigError, match="given_rubric"):
        asyncio.run(Pipeline(cloned, Wish(rediscover=True, agreed=True), Watched()).run())
