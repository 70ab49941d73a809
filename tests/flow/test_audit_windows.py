"""The audit of windows when mira.toml's size or grace is not what it was."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.sections import WindowsSection
from tests.flow.audit_logs import FrozenStream
from tests.flow.audit_plants import change_summary, drop_newest_revision
from tests.flow.selecting_world import World
from tests.unit.windows_model import GRACE_S, SIZE_S


def under(project: Project, size_s: int, grace_s: int) -> Project:
    windows = WindowsSection(size_s=size_s, grace_s=grace_s)
    return replace(project, settings=replace(project.settings, windows=windows))


async def finished(world: World, root: Path) -> FrozenStream:
    await world.commit_scorer()
    await world.export(root / "out")
    return await FrozenStream.of(world, root / "out")


async def test_a_change_of_mira_toml_alone_hides_nothing(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.fill(100, pace_s=3)
    await world.aggregate()
    world.project = under(world.project, SIZE_S * 7, GRACE_S * 2)
    stream = await finished(world, tmp_path)
    clean = await stream.audit()
    assert clean.findings == []
    assert clean.windows_recomputed == len(stream.logs["windows"])
    change_summary(tokens=1)(stream)
    assert "window_differs" in (await stream.audit()).findings_by_code


async def test_a_summary_that_says_of_itself_to_be_under_another_size_is_believed_only_with_its_state(
    tmp_path: Path,
) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.fill(100, pace_s=3)
    await world.aggregate()
    stream = await finished(world, tmp_path)
    change_summary(resized_at=5)(stream)
    assert list((await stream.audit()).findings_by_code) == ["window_differs"]


async def test_a_change_before_anything_was_summed_up_makes_no_findings_and_is_said(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.project = under(world.project, 100_000_000, 100_000_000)
    world.publish_masks()
    world.fill(60, pace_s=3)
    await world.aggregate()
    world.project = under(world.project, SIZE_S, 0)
    stream = await finished(world, tmp_path)
    assert stream.logs["windows"] == []
    result = await stream.audit()
    assert result.findings == []
    assert result.window_sources_not_compared > 0


async def test_a_correction_that_is_held_back_waits_and_one_that_is_gone_is_missing(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.fill(200, pace_s=2)
    await world.aggregate((2,))
    stream = await finished(world, tmp_path)
    held = await stream.audit()
    assert held.findings == []
    assert held.windows_waiting > 0
    assert f"window summaries ({held.windows_waiting} to be corrected soon) recomputed, all equal" in held.line()
    drop_newest_revision(stream)
    assert set((await stream.audit()).findings_by_code) & {"window_missing", "window_differs", "window_extra"}

    await world.tick(0)
    stream = await finished(world, tmp_path)
    whole = await stream.audit()
    assert (whole.findings, whole.windows_waiting) == ([], 0)
    drop_newest_revision(stream)
    assert set((await stream.audit()).findings_by_code) == {"window_missing"}


@pytest.mark.parametrize(
    ("size_s", "grace_s"), [(SIZE_S * 3, GRACE_S), (SIZE_S, GRACE_S * 2), (SIZE_S * 2, GRACE_S // 2)]
)
async def test_a_source_is_compared_up_to_a_change_and_said_to_be(tmp_path: Path, size_s: int, grace_s: int) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.fill(100, pace_s=3)
    await world.aggregate()
    before = len(world.summaries())
    world.project = under(world.project, size_s, grace_s)
    world.fill(100, seed=2, pace_s=3)
    await world.aggregate()
    stream = await finished(world, tmp_path)
    result = await stream.audit()
    assert (result.findings, result.window_sources_not_compared) == ([], 2)
    assert before <= result.windows_recomputed < len(stream.logs["windows"])
    assert "(windows of 2 sources not past a change of size or grace) recomputed, all equal" in result.line()
    change_summary(tokens=1)(stream)
    assert "window_differs" in (await stream.audit()).findings_by_code


@pytest.mark.parametrize("cards", [8, 60], ids=["no state", "states"])
async def test_a_change_that_takes_effect_before_the_first_summary_is_no_finding(tmp_path: Path, cards: int) -> None:
    """Windows that the state holds were counted under the grace of before, which nothing else tells."""
    world = await World.create(tmp_path)
    world.project = under(world.project, SIZE_S, SIZE_S * 4)
    world.publish_masks()
    world.fill(cards, pace_s=300 // cards)
    await world.aggregate()
    assert world.summaries() == []
    world.project = under(world.project, SIZE_S, 0)
    not_yet = await (await finished(world, tmp_path)).audit()
    assert (not_yet.findings, not_yet.windows_recomputed) == ([], 0)
    world.fill(60, seed=2, pace_s=3)
    await world.aggregate()
    stream = await finished(world, tmp_path)
    assert stream.logs["windows"] != []
    assert (await stream.audit()).findings == []
    assert any(summary.resized_at for summary in world.summaries()) == (cards == 60)
