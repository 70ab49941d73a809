"""Policies changed by command and sources added, while scorer, aggregator and exporter run."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from mira_stream.audit.run import audit
from mira_stream.cli import source as source_command
from mira_stream.cli.main import main
from mira_stream.config import load_project
from mira_stream.messages import SLOTS, Mask, Policy, decoder, encode
from mira_stream.parquet import read_columns
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.changing import change
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.publish import commit_policy, publish
from mira_stream.selecting.wanted import prior_under, rubric_under
from mira_stream.testing.broker import MemoryBroker
from producers.files import produce
from tests.flow.pipeline import Pipeline, make_project, question_row, text_row, write_rows


async def run_pipeline(tmp_path: Path) -> Pipeline:
    """Forty notes and forty questions are decided; all services run."""
    pipeline = Pipeline(make_project(tmp_path), MemoryBroker(), tmp_path / "out")
    write_rows(tmp_path / "notes.jsonl", [text_row(number) for number in range(40)])
    write_rows(tmp_path / "questions.jsonl", [question_row(number) for number in range(40)])
    await pipeline.prepare()
    for name in ("score", "aggregate", "export"):
        pipeline.start(name)
    await pipeline.produce()
    await pipeline.until(lambda: pipeline.count("decisions") == 80)
    return pipeline


@pytest.fixture
async def pipeline(tmp_path: Path) -> Pipeline:
    return await run_pipeline(tmp_path)


async def set_policy(pipeline: Pipeline, key: str, asked: Policy, scores_key: str = "group") -> PolicyLog:
    prior_of = prior_under(pipeline.project, lineage, read_columns)

    def decide(log: PolicyLog) -> list[tuple[str, Policy | Mask]]:
        return change(log, key, asked, scores_key, prior_of, rubric_of=rubric_under(pipeline.project)).records

    return (await commit_policy(pipeline.broker, pipeline.project, decide))[1]


async def more_notes(pipeline: Pipeline, first: int, count: int = 20) -> list[Any]:
    """The decisions on so many more notes."""
    before = pipeline.count("decisions")
    rows: list[object] = [text_row(number) for number in range(first + count)]
    write_rows(pipeline.project.path("notes.jsonl"), rows)
    await produce(pipeline.broker, pipeline.project, {"notes": pipeline.project.settings.sources["notes"]})
    await pipeline.until(lambda: pipeline.count("decisions") == before + count)
    return [d for d in pipeline.decisions() if d.source == "notes" and int(d.id.removeprefix("note-")) >= first]


async def test_a_target_a_mask_and_a_scope_are_in_force_from_the_next_card_on(pipeline: Pipeline) -> None:
    await set_policy(pipeline, "source:notes", Policy(retention=1.0, note="all of them"))
    decided = await more_notes(pipeline, 40)
    versions = {d.policy for d in decided}
    in_force = {epoch.epoch: epoch for epoch in pipeline.epochs() if epoch.epoch_of == "notes"}
    assert {in_force[d.epoch].target for d in decided} == {1.0}
    for d in decided:  # all of them, unless more were selected before than were due
        assert d.selected or in_force[d.epoch].target_corrected < 1.0
    before = {d.policy for d in pipeline.decisions()} - versions
    assert len(versions) == 1
    assert max(before) < min(versions)

    await set_policy(pipeline, "group:text", Policy(mask_remove=["A4"], floors={"A1": 3.0}))
    decided = await more_notes(pipeline, 60)
    assert all("A4" not in d.dimensions_used and len(d.dimensions_used) == 14 for d in decided)
    assert {d.reason for d in decided if (d.scores[0] or 0) < 3} == {"floor:A1"}

    await set_policy(pipeline, "source:notes", Policy(threshold_scope="source"))
    await set_policy(pipeline, "group:text", Policy(retention=0.2))
    await set_policy(pipeline, "group:qa", Policy(threshold_scope="group"))
    decided = await more_notes(pipeline, 80)
    assert {d.epoch_of for d in decided} == {"notes"}
    await pipeline.shut_down()


async def test_floors_of_a_group_and_of_its_source_hold_side_by_side_and_are_audited(pipeline: Pipeline) -> None:
    await set_policy(pipeline, "source:notes", Policy(floors={"A3": 3.0}))
    await set_policy(pipeline, "group:text", Policy(floors={"A1": 3.0, "A3": 9.0}))
    decided = await more_notes(pipeline, 40, 60)
    floored = {d.reason: d for d in decided if d.reason.startswith("floor:")}
    assert floored.keys() == {"floor:A1", "floor:A3"}
    for d in decided:
        low = [slot for slot, score in (("A1", d.scores[0]), ("A3", d.scores[2])) if (score or 0) < 3]
        assert d.reason == f"floor:{low[0]}" if low else not d.reason.startswith("floor:")
    await pipeline.shut_down()
    result = await audit(pipeline.project, pipeline.broker, pipeline.out, patience_s=0.1)
    assert result.findings == []
    assert result.decisions_recomputed == 140


async def test_what_was_set_stays_until_the_project_is_applied(pipeline: Pipeline) -> None:
    await set_policy(pipeline, "source:notes", Policy(retention=0.9))
    await set_policy(pipeline, "group:text", Policy(band=0.05))
    again = await publish(pipeline.broker, pipeline.project, lineage, read_columns)
    assert (again.written, again.kept) == (0, ["source:notes"])
    applied = await publish(pipeline.broker, pipeline.project, lineage, read_columns, override=True)
    assert applied.written == 2
    _, log = await commit_policy(pipeline.broker, pipeline.project, lambda log: [])
    assert log.newest_policy("source:notes") == Policy(retention=0.4)
    assert log.newest_policy("group:text") == Policy()
    await pipeline.shut_down()


@pytest.mark.parametrize("place", [{"like": "notes", "group": None}, {"like": None, "group": "text"}])
async def test_a_new_source_is_scored_decided_and_exported_without_a_restart(
    pipeline: Pipeline, place: dict[str, str | None]
) -> None:
    root = pipeline.project.root
    write_rows(root / "diary.jsonl", [text_row(1_000 + number) for number in range(30)])
    for _ in range(2):  # done twice it is done once
        made = await source_command.add_source(
            pipeline.project, pipeline.broker, "diary", path="diary.jsonl", retention=0.7, **place
        )
    assert made.records == []
    project = load_project(root, {})
    assert project.settings.sources["diary"].group == "text"
    await produce(pipeline.broker, project, {"diary": project.settings.sources["diary"]})
    await pipeline.until(lambda: pipeline.count("decisions") == 110)
    decided = [d for d in pipeline.decisions() if d.source == "diary"]
    assert len(decided) == 30
    assert pipeline.dead_letters() == []
    up = await publish(pipeline.broker, project, lineage, read_columns)
    assert (up.written, up.kept) == (0, [])
    await pipeline.shut_down()
    assert set(pipeline.exported("scores")) >= {f"note-{1_000 + number}" for number in range(30)}


class Command:
    """The command line over a broker in memory."""

    def __init__(self, root: Path, broker: MemoryBroker, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.broker, self.capsys = root, broker, capsys

    def __call__(self, *words: str) -> tuple[int, Any]:
        code = main([*words, "--project", str(self.root), "--json"])
        out = self.capsys.readouterr().out
        return code, orjson.loads(out) if out else None


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    import asyncio

    broker = MemoryBroker()
    asyncio.run(Pipeline(make_project(tmp_path), broker, tmp_path / "out").prepare())
    monkeypatch.setattr("mira_stream.cli.connect.connect", lambda project, servers: broker)
    return Command(tmp_path, broker, capsys)


def test_show_and_history_say_who_asks_for_what_and_why(command: Command) -> None:
    assert command("policy", "set", "group:text", "--band", "0.2", "--note", "wider")[0] == 0
    budget = ("--budget-tokens", "300", "--expected-tokens", "1000")
    assert command("policy", "set", "source:questions", *budget)[1]["written"] == 1
    code, found = command("policy", "show")
    rows = {row["source"]: row for row in found["sources"]}
    assert code == 0
    assert rows["notes"]["values"]["band"] == {"value": 0.2, "key": "group:text", "version": 6}
    assert rows["notes"]["values"]["retention"]["key"] == "source:notes"
    assert rows["questions"]["values"]["retention"]["value"] == 0.3
    assert rows["questions"]["values"]["unit"]["value"] == "tokens"
    _, found = command("policy", "history")
    last = found["versions"][-2]
    assert (last["key"], last["note"], last["by"], last["changed"]) == (
        "group:text", "wider", "command", {"band": [None, 0.2]},
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("source:nobody", "--retention", "0.4"),
        ("source:notes", "--retention", "0.9", "--band", "0.3"),
        ("source:notes", "--mask-add", "A99"),
        ("source:notes", "--mask-add", "A3", "--mask-remove", "A3"),
        ("source:notes", *[word for slot in SLOTS[:13] for word in ("--mask-remove", slot)]),
        ("*", "--mask-remove", "A3"),
        ("*", "--scope", "global"),
        ("*", "--scope", "group"),  # notes has a target of its own
        ("source:notes", "--budget-tokens", "300", "--expected-tokens", "200"),
        ("source:notes", "--floor", "A1=11"),
        ("source:notes", "--retention", "0.4"),  # as it is
        ("source:notes", "--horizon", "9" * 23),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(command: Command, words: tuple[str, ...]) -> None:
    before = command.broker.records("mira.policy")
    assert command("policy", "set", *words)[0] == 2
    assert command.broker.records("mira.policy") == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--note", "why"], "nothing_asked: source:notes: a note alone changes nothing"),
        ([], "nothing_asked: source:notes: no option says what to change"),
        (["--retention", "0.4", "--note", "why"], "nothing_changed: source:notes asks for exactly that already"),
    ],
)
def test_a_note_without_a_change_is_refused_with_a_way_out(command: Command, words: list[str], said: str) -> None:
    before = command.broker.records("mira.policy")
    assert main(["policy", "set", "source:notes", *words, "--project", str(command.root)]) == 2
    error = " ".join(command.capsys.readouterr().err.split())
    assert said in error
    assert ("for example --retention 0.4" in error) == said.startswith("nothing_asked")
    assert command.broker.records("mira.policy") == before


def test_a_source_that_is_not_there_is_refused_with_the_command_that_adds_one(command: Command) -> None:
    assert main(["policy", "set", "source:nosuch", "--retention", "0.4", "--project", str(command.root)]) == 2
    said = " ".join(command.capsys.readouterr().err.split())
    assert "use one of *, group:qa, group:text, source:notes, source:questions; a new source:" in said
    assert "mira-stream source add NAME --like SOURCE" in said
    assert main(["policy", "set", "group:nosuch", "--retention", "0.4", "--project", str(command.root)]) == 2
    assert "source add" not in command.capsys.readouterr().err


def test_a_name_that_no_source_can_have_is_refused_before_it_is_asked_what_it_is_like(command: Command) -> None:
    assert main(["source", "add", "bad name", "--project", str(command.root)]) == 2
    assert "source_invalid: source 'bad name'" in " ".join(command.capsys.readouterr().err.split())


def test_a_taken_back_target_is_inherited_again(command: Command) -> None:
    assert command("policy", "set", "source:notes", "--unset", "retention")[0] == 0
    assert command("policy", "set", "*", "--scope", "group")[0] == 0
    _, found = command("policy", "show")
    assert {row["threshold_of"] for row in found["sources"]} == {"group:text", "group:qa"}
    decode = decoder(Policy).decode
    assert decode(command.broker.records("mira.policy")[-1].value or b"").threshold_scope == "group"


def test_what_can_be_taken_back_is_named_as_its_option_is(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "set", "source:notes", "--unset", "mask_remove", "--project", str(command.root)]) == 2
    said = capsys.readouterr().err
    assert "use one of retention, unit, band, scope, horizon, floors" in said


def test_a_source_that_cannot_be_added_is_refused(command: Command) -> None:
    before = (command.root / "mira.toml").read_text()
    for words in (
        ["new"],
        ["new", "--like", "nobody"],
        ["new", "--group", "nobody"],
        ["../new", "--group", "text"],
        ["new\n", "--group", "text"],
    ):
        assert command("source", "add", *words)[0] == 2
    assert command("source", "add", "notes", "--group", "qa")[0] == 2
    assert (command.root / "mira.toml").read_text() == before
    assert command("source", "add", "new", "--group", "text", "--path", "new.jsonl")[1]["written"] == 2
    assert "[sources.new]" in (command.root / "mira.toml").read_text()


def policy_of(command: Command, source: str) -> Policy:
    found = command.broker.records("mira.policy")
    own = [r.value or b"" for r in found if r.key == f"source:{source}".encode() and b"policy.v1" in (r.value or b"")]
    return decoder(Policy).decode(own[-1])


@pytest.mark.parametrize(
    "words",
    [
        ("notes", "--group", "text"),  # it is mira.toml's, with a target
        ("notes", "--group", "text", "--retention", "0.4"),
        ("notes", "--like", "questions"),
        ("questions", "--group", "qa"),
        ("new", "--like", "notes", "--retention", "0.2"),
        ("new", "--like", "notes"),
        ("new", "--group", "text", "--retention", "0.7"),
        ("new", "--like", "notes", "--retention", "0.7", "--path", "other.jsonl"),
        ("new\n", "--group", "text"),
    ],
)
def test_a_source_that_is_there_is_not_added_again_as_something_else(command: Command, words: tuple[str, ...]) -> None:
    assert command("source", "add", "new", "--like", "notes", "--retention", "0.7", "--path", "n.jsonl")[0] == 0
    before, toml = command.broker.records("mira.policy"), (command.root / "mira.toml").read_text()
    assert command("source", "add", *words)[0] == 2
    assert command.broker.records("mira.policy") == before
    assert (command.root / "mira.toml").read_text() == toml
    assert command("source", "add", "new", "--like", "notes", "--retention", "0.7")[1]["written"] == 0
    assert command("policy", "set", "source:new", "--retention", "0.6")[0] == 0
    assert command("source", "add", "new", "--like", "notes", "--retention", "0.7")[0] == 2


def test_an_addition_that_was_cut_off_goes_on_and_parts_nothing(command: Command) -> None:
    toml = command.root / "mira.toml"
    before = toml.read_text()
    assert command("source", "add", "new", "--like", "notes", "--retention", "0.7")[0] == 0
    toml.write_text(before)  # the power went between the record and the file
    assert command("source", "add", "new", "--like", "notes", "--retention", "0.2")[0] == 2
    assert toml.read_text() == before
    code, made = command("source", "add", "new", "--like", "notes")
    assert (code, made["written"], made["asked"]) == (0, 0, {"retention": 0.7, "like": "notes"})
    assert load_project(command.root, {}).settings.sources["new"].retention == 0.7


def test_a_source_of_mira_toml_that_is_not_in_force_yet_is_put_there_as_it_says(command: Command) -> None:
    with (command.root / "mira.toml").open("a") as toml:
        toml.write('[sources.new]\ngroup = "text"\nretention = 0.3\n')
    assert command("source", "add", "new", "--group", "qa")[0] == 2
    assert command("source", "add", "new", "--group", "text", "--retention", "0.2")[0] == 2
    assert command("source", "add", "new", "--group", "text")[1]["asked"] == {"retention": 0.3}
    assert policy_of(command, "new") == Policy(group="text", retention=0.3)


def test_a_source_added_like_another_is_asked_for_all_that_the_other_is(command: Command) -> None:
    budget = ("--budget-tokens", "300", "--expected-tokens", "1000")
    assert command("policy", "set", "source:notes", *budget, "--floor", "A11=3", "--mask-remove", "A3")[0] == 0
    _, made = command("source", "add", "twin", "--like", "notes")
    assert made["asked"] == {
        "retention": 0.3, "unit": "tokens", "floors": {"A11": 3.0}, "mask_remove": ["A3"],
        "like": "notes",
    }  # fmt: skip
    assert load_project(command.root, {}).settings.sources["twin"].retention is None  # 0.3 there would be of documents
    before = policy_of(command, "twin")
    assert before.by == "command"
    assert command("policy", "set", "group:text", "--horizon", "400", "--band", "0.05", "--scope", "source")[0] == 0
    assert command("source", "add", "plain", "--like", "notes", "--retention", "0.2")[0] == 0
    rows = {row["source"]: row for row in command("policy", "show")[1]["sources"]}
    assert rows["twin"]["values"] == {
        name: {
            **value,
            "key": value["key"].replace("notes", "twin"),
            "version": rows["twin"]["values"][name]["version"],
        }
        for name, value in rows["notes"]["values"].items()
    }
    assert rows["plain"]["values"]["retention"]["value"] == 0.2


def test_a_target_set_by_command_is_the_one_that_mira_toml_gets(command: Command) -> None:
    assert command("policy", "set", "source:notes", "--retention", "0.9")[0] == 0
    assert command("source", "add", "twin", "--like", "notes")[0] == 0
    assert load_project(command.root, {}).settings.sources["twin"].retention == 0.9
    assert policy_of(command, "twin") == Policy(group="text", like="notes", retention=0.9)


@pytest.mark.parametrize("path", ["new.jsonl", None])
def test_what_is_said_of_a_new_source_can_be_typed_as_it_stands(command: Command, path: str | None) -> None:
    files = [] if path is None else ["--path", path]
    write_rows(command.root / "new.jsonl", [text_row(number) for number in range(3)])
    assert main(["source", "add", "new", "--group", "text", *files, "--project", str(command.root)]) == 0
    said = command.capsys.readouterr().out.splitlines()[-1]
    if path is None:
        assert 'add path = "FILES" to [sources.new]' in said
        toml = (command.root / "mira.toml").read_text()
        (command.root / "mira.toml").write_text(toml.replace("[sources.new]", '[sources.new]\npath = "new.jsonl"'))
    typed = said.partition("mira-stream ")[2].partition(";")[0].split()
    assert main([*typed, "--json"]) == 0
    assert orjson.loads(command.capsys.readouterr().out)


def floors_in_force(command: Command) -> dict[str, tuple[dict[str, float], dict[str, str]]]:
    rows = command("policy", "show")[1]["sources"]
    return {row["source"]: (row["values"]["floors"]["value"], row["floor_keys"]) for row in rows}


def test_a_floor_more_or_less_leaves_the_others(command: Command) -> None:
    def set_floors(key: str, *words: str) -> int:
        return command("policy", "set", key, *words)[0]

    assert set_floors("source:notes", "--floor", "A11=3") == 0
    assert set_floors("source:notes", "--floor", "A3=2") == 0
    assert policy_of(command, "notes").floors == {"A3": 2.0, "A11": 3.0}
    assert set_floors("group:text", "--floor", "A11=9", "--floor", "A5=4") == 0
    floors, keys = floors_in_force(command)["notes"]
    assert floors == {"A3": 2.0, "A5": 4.0, "A11": 3.0}  # of each slot the narrowest key that speaks of it
    assert keys == {"A3": "source:notes", "A5": "group:text", "A11": "source:notes"}
    assert set_floors("source:notes", "--unset", "floor:A11") == 0
    assert floors_in_force(command)["notes"][0] == {"A3": 2.0, "A5": 4.0, "A11": 9.0}
    assert set_floors("source:notes", "--unset", "floor:A11") == 2  # it is taken back already
    assert set_floors("source:notes", "--unset", "floor:A99") == 2
    assert set_floors("source:notes", "--unset", "floors") == 0
    assert policy_of(command, "notes") == Policy(retention=0.4, by="command")
    assert floors_in_force(command)["notes"][0] == {"A5": 4.0, "A11": 9.0}
    assert floors_in_force(command)["questions"] == ({}, {})


def test_a_floor_that_does_not_hold_for_a_source_is_said(command: Command) -> None:
    assert command("policy", "set", "source:notes", "--floor", "A11=3")[0] == 0
    assert main(["policy", "set", "group:text", "--floor", "A11=9", "--project", str(command.root)]) == 0
    said = command.capsys.readouterr()
    assert "for notes A11=3 stays, which source:notes says" in said.err
    assert "floors A11=3 (source:notes)" in said.out


def test_floors_of_earlier_versions_replace_those_of_wider_keys_as_they_did(command: Command) -> None:
    old = Policy(retention=0.4, floors={"A3": 2.0}, by="command")
    command.broker.append("mira.policy", b"source:notes", encode(old), 0)
    assert b"floors_by_slot" not in encode(old)
    assert main(["policy", "set", "group:text", "--floor", "A11=9", "--project", str(command.root)]) == 0
    assert "A11 has no floor for notes" in command.capsys.readouterr().err
    assert floors_in_force(command)["notes"][0] == {"A3": 2.0}
    assert command("policy", "set", "source:notes", "--floor", "A5=1")[0] == 0
    assert floors_in_force(command)["notes"][0] == {"A3": 2.0, "A5": 1.0, "A11": 9.0}


def test_what_mira_toml_does_not_have_is_left_alone_and_named(command: Command) -> None:
    older = (command.root / "mira.toml").read_text()
    assert command("source", "add", "new", "--like", "notes", "--retention", "0.7")[0] == 0
    for key in ("source:new", "group:text", "source:notes"):
        assert command("policy", "set", key, "--band", "0.05")[0] == 0
    new = policy_of(command, "new")
    (command.root / "mira.toml").write_text(older)
    _, applied = command("policy", "apply")
    assert (applied["written"], applied["keys"]) == (2, ["group:text", "source:notes"])
    assert applied["left_alone"] == ["source:new"]
    assert policy_of(command, "new") == new
    assert policy_of(command, "notes") == Policy(retention=0.4)
    assert main(["policy", "apply", "--project", str(command.root)]) == 0
    assert command.capsys.readouterr().out.splitlines() == [
        "all of it is in force already", "left alone, for mira.toml has nothing of them: source:new",
    ]  # fmt: skip
