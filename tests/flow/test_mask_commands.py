"""Slots put in and taken out by command, under one lineage of a source and the next."""

from typing import Any

from mira_stream.cli.main import main
from mira_stream.messages import SLOTS
from tests.flow.test_policy_commands import Command, command, policy_of

__all__ = ["command"]


def dimensions_out(command: Command) -> dict[str, set[str]]:
    rows = command("policy", "show")[1]["sources"]
    return {row["source"]: set(SLOTS) - set(row["dimensions"]) for row in rows}


def row_of(command: Command, source: str) -> dict[str, Any]:
    return next(row for row in command("policy", "show")[1]["sources"] if row["source"] == source)


def another_student(command: Command, old: str = "scripted", new: str = "scripted2") -> None:
    toml = command.root / "mira.toml"
    toml.write_text(toml.read_text().replace(f'model = "{old}"', f'model = "{new}"'))


def prepared(command: Command) -> str:
    assert main(["prepare", "--project", str(command.root)]) == 0
    said = command.capsys.readouterr()
    return " ".join((said.out + said.err).split())


def test_a_slot_taken_out_by_command_stays_out_under_another_student(command: Command) -> None:
    assert command("source", "add", "twin", "--like", "notes")[0] == 0
    assert command("policy", "set", "group:text", "--mask-remove", "A3", "--mask-remove", "A4")[0] == 0
    assert command("policy", "set", "source:notes", "--mask-add", "A4", "--mask-remove", "A7")[0] == 0
    out = {"notes": {"A3", "A7"}, "questions": set(), "twin": {"A3", "A4"}}
    assert dimensions_out(command) == out
    another_student(command)
    assert "holds on in lineage" in prepared(command)
    assert dimensions_out(command) == out
    before = command.broker.records("mira.policy")
    assert "holds on" not in prepared(command)
    assert command.broker.records("mira.policy") == before
    assert command("policy", "set", "source:twin", "--mask-remove", "A9")[0] == 0
    another_student(command, "scripted2", "scripted")  # back: also what was set meanwhile
    prepared(command)
    assert dimensions_out(command) == out | {"twin": {"A3", "A4", "A9"}}
    assert command("policy", "apply")[0] == 0
    assert set().union(*dimensions_out(command).values()) == set()


def test_a_mask_change_is_in_force_under_every_lineage_and_show_names_them(command: Command) -> None:
    assert command("policy", "set", "source:notes", "--mask-remove", "A5")[0] == 0
    assert command("policy", "apply")[0] == 0
    live = row_of(command, "notes")["lineage"]
    another_student(command)  # published before the scorers are replaced: those of `live` are still at work
    prepared(command)
    assert main(["policy", "set", "source:notes", "--mask-remove", "A7", "--project", str(command.root)]) == 0
    told = command.capsys.readouterr().out.splitlines()
    row = row_of(command, "notes")
    assert [older["lineage"] for older in row["older"]] == [live]
    assert [set(SLOTS) - set(of["dimensions"]) for of in (row, *row["older"])] == [{"A7"}, {"A7"}]
    assert f"lineage {row['lineage']}, mask {row['mask']}: 14 of 15, by command" in told[1]
    assert told[3] == (
        f"    cards of an older lineage: lineage {live}, mask {row['older'][0]['mask']}: 14 of 15, by command"
    )


def test_a_slot_of_a_group_does_not_overrule_a_source_s_own_and_that_is_said(command: Command) -> None:
    assert command("policy", "set", "source:notes", "--mask-remove", "A3")[0] == 0
    assert main(["policy", "set", "group:text", "--mask-add", "A3", "--project", str(command.root)]) == 0
    assert "for notes A3 stays out, which source:notes says" in command.capsys.readouterr().err
    assert dimensions_out(command)["notes"] == {"A3"}


def test_a_mask_of_another_rubric_is_left_as_it_is_and_that_is_said(command: Command) -> None:
    live = row_of(command, "notes")["lineage"]
    rubric = command.root / "rubrics" / "text.jsonl"
    before = rubric.read_text()
    rubric.write_text(before.replace("Dimension 3", "Something else"))
    words = ("policy", "set", "source:notes", "--mask-remove", "A3", "--project", str(command.root))
    assert main(list(words)) == 2
    assert "mask_slots" in command.capsys.readouterr().err
    prepared(command)
    assert main(list(words)) == 0
    assert f"lineage {live} is of another rubric, and its mask stays as it is" in command.capsys.readouterr().err
    row = row_of(command, "notes")
    assert [set(SLOTS) - set(of["dimensions"]) for of in (row, *row["older"])] == [{"A3"}, set()]


def test_a_slot_of_another_rubric_is_not_taken_out_and_that_is_said(command: Command) -> None:
    assert command("policy", "set", "source:notes", "--mask-remove", "A3")[0] == 0
    rubric = command.root / "rubrics" / "text.jsonl"
    rubric.write_text(rubric.read_text().replace("Dimension 3", "Something else"))
    for _ in range(2):
        said = prepared(command)
        assert "source notes: -A3 was set by command" in said
        assert "policy set source:notes --mask-remove A3" in said
        assert dimensions_out(command)["notes"] == set()
    assert command("policy", "set", "source:notes", "--mask-remove", "A5")[0] == 0
    assert policy_of(command, "notes").mask_remove == ["A5"]
    assert "does not hold" not in prepared(command)


def test_slots_that_would_leave_too_few_are_not_taken_out_and_that_is_said(command: Command) -> None:
    words = [word for slot in SLOTS[:12] for word in ("--mask-remove", slot)]
    assert command("policy", "set", "source:notes", *words)[0] == 0
    another_student(command)
    toml = (command.root / "mira.toml").read_text()
    (command.root / "mira.toml").write_text(toml + "[mask]\ndimensions_min = 4\n")
    for _ in range(2):
        assert "does not hold" in prepared(command)
    assert dimensions_out(command)["notes"] == set()


def test_what_apply_takes_back_stays_back_in_a_lineage_that_was_entered_with_it(command: Command) -> None:
    assert command("policy", "set", "source:notes", "--mask-remove", "A5")[0] == 0
    another_student(command)
    prepared(command)
    assert dimensions_out(command)["notes"] == {"A5"}  # carried: the first mask of this lineage
    another_student(command, "scripted2", "scripted")
    assert command("policy", "apply")[0] == 0
    another_student(command)
    prepared(command)
    assert dimensions_out(command)["notes"] == set()
