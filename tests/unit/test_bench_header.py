"""A saved run names the modes in which documents were judged, not only the one that was asked for."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mira_stream.benching.header import cache_notes, header, mode_notes, settings_of
from mira_stream.benching.intervals import compare
from mira_stream.config import Project, Settings
from mira_stream.errors import UsageError
from mira_stream.planning.corpus import Corpus
from mira_stream.planning.measured import rate_of
from mira_stream.reliability.table import save_table
from mira_stream.sections import GroupSection
from mira_stream.vllm_engine import threads
from tests.unit.test_benching import run, turn
from tests.unit.test_planning import measured
from tests.unit.test_reliability_acceptance import project, table

CORPUS = Corpus(documents=10, mean_tokens=200, reply_tokens=30)


def served(root: Path, *accepted: str) -> Project:
    """A project that asks for mode `expected`, which is accepted for these sources."""
    root.mkdir(exist_ok=True)
    found = project(root)
    path = found.reliability_path("text")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_table(path, table(*accepted))
    return found


def settings(found: Project) -> dict[str, Any]:
    made: dict[str, Any] = settings_of(found, ["text"])["groups"]["text"]
    return made


def test_modes_served_are_saved_beside_the_one_asked_for(tmp_path: Path) -> None:
    none = served(tmp_path)
    assert (settings(none)["mode"], settings(none)["served_modes"]) == ("expected", ["scores"])
    said = mode_notes(none, ["text"], published=False)
    assert any(line.startswith("group text, all sources: judged in mode scores, the gain") for line in said)
    assert sorted(settings(served(tmp_path, "docs"))["served_modes"]) == ["expected", "scores"]
    every = served(tmp_path, "*", "docs", "stdlib")
    assert settings(every)["served_modes"] == ["expected"]
    assert mode_notes(every, ["text"], published=False) == []


def test_a_cascade_without_thresholds_is_said(tmp_path: Path) -> None:
    found = project(tmp_path, 'mode = "cascade"\nmode_pinned = true')
    (said,) = mode_notes(found, ["text"], published=False)
    assert "judged by both stages where there is no threshold, and none are published here" in said
    (said,) = mode_notes(found, ["text"], published=True)
    assert "none before the sources' first epochs" in said


def test_threads_are_saved_as_engines_that_share_cores_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_first", {threads.BIND: None, threads.THREADS: None})
    monkeypatch.setattr(threads, "physical_cores", lambda: 16)
    groups = {name: GroupSection(family="text") for name in "ab"}
    found = Project(Path(), Settings(groups=groups))
    assert settings_of(found, ["a"])["limits"]["engine_threads"] == 0
    assert settings_of(found, ["a", "b"])["limits"]["engine_threads"] == 8


def test_endpoints_whose_prefix_caches_stay_are_said() -> None:
    groups = {
        "a": GroupSection(family="text"),
        "b": GroupSection(family="text", engine="openai", base_urls=["http://b"]),
    }
    found = Project(Path(), Settings(groups=groups))
    assert cache_notes(found, ["a"]) == []
    (said,) = cache_notes(found, ["a", "b"])
    assert said.startswith("the endpoints of group b keep their prefix caches from turn to turn")


def test_plan_and_compare_see_the_modes_served(tmp_path: Path) -> None:
    none, every = served(tmp_path / "a"), served(tmp_path / "b", "*", "docs", "stdlib")
    runs = [measured(settings=settings_of(one, ["text"]), notes=["fell back"]) for one in (none, every)]
    with pytest.raises(UsageError, match=r"judged in mode scores \(expected was asked for\)"):
        rate_of(runs[0], replace(CORPUS, mode="expected"))
    assert rate_of(runs[0], replace(CORPUS, mode="scores")).mode == "scores"
    assert "fell back" in rate_of(runs[0], CORPUS).notes
    assert rate_of(runs[1], replace(CORPUS, mode="expected")).mode == "expected"
    differs = "settings.groups.text.served_modes: ['scores'] -> ['expected']"
    assert differs in compare(*(replace(run([turn(10)] * 2), settings=one.settings) for one in runs)).differences


def test_a_header_is_flat_in_the_saved_run(tmp_path: Path) -> None:
    begun = header(project(tmp_path), ["text"], "bench.v1", "20260101T000000Z")
    assert list(begun) == ["schema", "taken_at", "machine", "versions", "settings"]
    assert begun["machine"]["cores"] > 0
