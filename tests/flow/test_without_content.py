"""Kept documents whose content was gone when they were exported: what a person writes off, and nothing beyond it."""

from pathlib import Path

import pytest
import structlog

from mira_stream.errors import FolderAway
from mira_stream.exporting import OutFolder, without_content
from tests.flow.exporting_world import World, without_pauses


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pauses(monkeypatch)


async def test_missing_contents_are_written_off_up_to_what_was_exported_before_and_by_a_person_only(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    await world.run()
    assert without_content(world.out, "mira.exports") == {}
    world.add(6)
    with structlog.testing.capture_logs() as said:
        await world.run(accept_loss=True)
    assert without_content(world.out, "mira.exports") == {0: 29, 1: 29}
    assert any(entry["event"] == "what was exported without its content is written off" for entry in said)
    await world.run()
    assert without_content(world.out, "mira.exports") == {0: 29, 1: 29}
    world.add(6)
    await world.run(accept_loss=True)
    assert without_content(world.out, "mira.exports") == {0: 32, 1: 32}
    world.out.rename(tmp_path / "away")
    await world.run(from_start=True)
    assert without_content(world.out, "mira.exports") == {}
    assert not list(world.out.glob("**/*.writing"))


async def test_a_folder_that_is_away_is_no_place_to_write_off_contents(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    folder = OutFolder(world.out, "mira.exports", accept_loss=True)
    await folder.look_back(await world.broker.reader())
    world.out.rename(tmp_path / "away")
    with pytest.raises(FolderAway, match="export_gone"):
        folder.check()
    assert not world.out.exists()
    (tmp_path / "away").rename(world.out)
    folder.check()
    assert without_content(world.out, "mira.exports") == {0: 29, 1: 29}
