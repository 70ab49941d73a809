"""What `mira-stream reliability watch` says: cells, alarms, and proposals that a person may put into mira.toml."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from mira_stream.cli.main import main
from mira_stream.cli.watch import report_of, show, watch
from mira_stream.config import Project, Settings
from mira_stream.errors import UsageError
from mira_stream.messages import SLOTS
from mira_stream.reliability.monitor import HOUR_MS, Monitor
from mira_stream.sections import GroupSection, SourceSection
from mira_stream.testing.broker import MemoryBroker
from mira_stream.watching.follower import LabelFollower
from tests.unit.monitor_labels import Student, blind, good, hours


async def report(students: list[Student]) -> dict[str, Any]:
    settings = Settings(groups={"text": GroupSection(family="text")}, sources={"books": SourceSection(group="text")})
    project = Project(Path("here"), settings)
    monitor = Monitor(settings.mask.limits)
    for label in hours(students):
        monitor.add(label)
    follower = LabelFollower(await MemoryBroker().reader(), "mira.teacher-labels", ["text"], monitor)
    assert await follower.refresh() == 0
    return report_of(project, monitor.look(len(students) * HOUR_MS), follower)


async def test_an_alarm_comes_with_lines_for_mira_toml_and_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    found = await report([blind] * 3)
    assert found["alarms"] == ["books/A1", "books/A2"]
    (proposal,) = found["proposals"]
    section = msgspec.toml.decode(proposal["toml"])["sources"]["books"]
    assert section == {"mask_remove": ["A1", "A2"], "mask_add": []}
    assert proposal["command"] == "mira-stream policy set source:books --mask-remove A1 --mask-remove A2 --project here"
    assert main([*proposal["command"].split()[1:], "--help"]) == 0
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    capsys.readouterr()
    show(found)
    said = capsys.readouterr()
    assert said.out == ""
    assert "A1 unreliable" in said.err
    assert "mask_remove" in said.err
    assert proposal["command"] in said.err


async def test_no_command_is_proposed_that_would_be_refused(capsys: pytest.CaptureFixture[str]) -> None:
    found = await report([lambda chance, teacher: [float(chance.randint(1, 10)) for _ in teacher]] * 3)
    (proposal,) = found["proposals"]
    assert (proposal["enough"], proposal["command"]) == (False, None)
    show(found)
    said = capsys.readouterr().err
    assert f"leave {proposal['dimensions_left']} dimensions, too few" in said
    assert "mask_remove" not in said
    assert "mask-remove" not in said


async def test_without_alarm_there_is_no_proposal(capsys: pytest.CaptureFixture[str]) -> None:
    found = await report([good] * 3)
    assert (found["alarms"], found["proposals"], found["events"]) == ([], [], [])
    assert len(found["cells"]) == len(SLOTS)
    show(found)
    assert "alarm" not in capsys.readouterr().err


async def test_before_the_first_window_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show(await report([]))
    assert "no window is full yet" in capsys.readouterr().err


def test_a_share_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "mira.toml").write_text('[groups.text]\nfamily = "text"\n[sources.books]\ngroup = "text"\n')
    app = typer.Typer()
    app.command()(watch)
    with pytest.raises(UsageError) as refusal:
        typer.main.get_command(app)(["--project", str(tmp_path), "--share", "1.5"], standalone_mode=False)
    assert refusal.value.code == "share_invalid"
    with pytest.raises(UsageError) as refusal:
        typer.main.get_command(app)(["--project", str(tmp_path), "--max-cost", "5"], standalone_mode=False)
    assert refusal.value.code == "price_unknown"
