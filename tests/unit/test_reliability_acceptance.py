"""A faster mode judges a source only where its gain is shown to be as good; everything else falls back, and says so."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.messages import SLOTS
from mira_stream.reliability.acceptance import DOCUMENTS_MIN, MARGIN, served_under, with_acceptance
from mira_stream.reliability.kept import gain_difference, kept_sets
from mira_stream.reliability.measure import Measured, Terms, measure
from mira_stream.reliability.table import Acceptance, ModeReliability, Table, load_table, save_table
from mira_stream.sections import MaskLimits
from tests.unit.scoring_project import make_project

TERMS = Terms(MaskLimits(mae=2.0, rho=0.1), 0.1, {"*": 0.4})


def rows(count: int, error: float, seed: int) -> list[Measured]:
    """Documents of two sources whose student errs by `error` points in all dimensions of a document."""
    chance, errors = np.random.default_rng(1), np.random.default_rng(seed)
    found = []
    for at in range(count):
        level = float(chance.uniform(2, 9))
        scores = [round(min(10.0, max(1.0, level + chance.normal())), 1) for _ in SLOTS]
        off = float(errors.normal()) * error
        given = [min(10.0, max(1.0, score + off)) for score in scores]
        found.append(Measured(f"d{at}", "a" if at % 10 else "b", scores, given, 50.0, "keep"))
    return found


@cache
def part(count: int, error: float, seed: int) -> ModeReliability:
    """The table of the first of these rows: which dimensions count, and their means. Made once for all tests."""
    measured = rows(min(count, 200), error, seed)
    return measure(measured, group="text", rubric="r", lineage="l", labels=b"", mode="scores", terms=TERMS).modes[
        "scores"
    ]


def compared(fast: tuple[int, float, int], slow: tuple[int, float, int]) -> dict[str, Acceptance]:
    """Of rows(*fast) with rows(*slow)."""
    found = with_acceptance(part(*fast), rows(*fast), part(*slow), rows(*slow), "scores", TERMS)
    return {name: source.acceptance for name, source in found.sources.items() if source.acceptance is not None}


def test_a_mode_as_good_is_accepted_where_there_are_enough_documents() -> None:
    found = compared((700, 0.3, 2), (700, 0.3, 2))
    assert {name: one.n for name, one in found.items()} == {"*": 700, "a": 630, "b": 70}
    assert {name: one.accepted for name, one in found.items()} == {"*": True, "a": True, "b": False}
    assert found["a"].difference == found["a"].difference_lo == 0.0
    assert found["a"].against == "scores"


def test_a_worse_mode_is_not() -> None:
    found = compared((700, 2.0, 3), (700, 0.1, 2))
    assert not any(one.accepted for one in found.values())
    assert found["a"].difference_lo is not None
    assert found["a"].difference is not None
    assert found["a"].difference_lo < found["a"].difference < -MARGIN


def test_only_documents_that_the_slower_mode_read_count() -> None:
    found = compared((700, 0.3, 2), (DOCUMENTS_MIN - 1, 0.3, 2))
    assert (found["*"].n, found["*"].unread) == (DOCUMENTS_MIN - 1, 0)
    assert not found["*"].accepted


def test_what_the_faster_mode_does_not_read_counts_against_it(tmp_path: Path) -> None:
    read = [row for at, row in enumerate(rows(900, 0.3, 2)) if at % 3]
    found = with_acceptance(part(900, 0.3, 2), read, part(900, 0.3, 2), rows(900, 0.3, 2), "scores", TERMS)
    whole = found.sources["*"].acceptance
    assert whole is not None
    assert (whole.n, whole.unread, whole.accepted) == (900, 300, False)
    assert whole.difference is not None
    assert whole.difference < -0.1, "of two thirds of the documents no two fifths of all are as good"
    judged = replace(found, sources={"*": found.sources["*"]})
    said = served_under(project(tmp_path), "text", replace(table(), modes={**table().modes, "expected": judged})).said
    assert "(300 of 900 documents were not read whole)" in said[0]


def test_worthless_documents_left_unread_cost_nothing() -> None:
    best = sorted(rows(900, 0.0, 2), key=lambda row: -sum(row.scores))
    found = with_acceptance(part(900, 0.0, 2), best[:800], part(900, 0.0, 2), best, "scores", TERMS)
    whole = found.sources["*"].acceptance
    assert whole is not None
    assert (whole.unread, whole.difference, whole.accepted) == (100, 0.0, True)


def test_the_difference_is_that_of_the_gains() -> None:
    teacher = [float(row.scores[0]) for row in rows(200, 1.0, 2)]
    fast, slow = ([row.student_scores[0] for row in rows(200, error, 5)] for error in (2.0, 0.5))
    names = [f"d{at}" for at in range(200)]
    found = gain_difference(teacher, fast, slow, names, names, 0.4)
    sets = [kept_sets(teacher, side, names, names, 0.4) for side in (fast, slow)]
    gains = [one.gain for one in sets if one is not None and one.gain is not None]
    assert found is not None
    assert found[0] == pytest.approx(gains[0] - gains[1])
    assert found[1] < found[0]
    assert gain_difference([5.0] * 200, fast, slow, names, names, 0.4) is None
    assert gain_difference(teacher, fast, slow, names, names, 0.0) is None


def table(*accepted: str, mode: str = "expected", n: int = 700) -> Table:
    """Of sources stdlib and docs (and the whole group), those accepted that are named."""
    one = part(60, 0.3, 2)
    sources = {
        name: replace(
            one.sources["*"],
            acceptance=Acceptance(against="scores", n=n, difference_lo=-0.2, accepted=name in accepted),
        )
        for name in ("*", "docs", "stdlib")
    }
    modes = {
        mode: replace(one, sources=sources),
        "scores": replace(one, sources=dict.fromkeys(sources, one.sources["*"])),
    }
    return Table(
        group="text",
        rubric="r",
        labels_sha256="",
        split="heldout",
        limits=TERMS.limits,
        modes=modes,  # type: ignore[arg-type]
    )


def project(root: Path, group: str = 'mode = "expected"') -> Project:
    return make_project(root, group)


def modes_of(root: Path, found: Table | None, group: str = 'mode = "expected"') -> dict[str, str]:
    modes = served_under(project(root, group), "text", found)
    return {name: modes.section_of(name).mode for name in ("docs", "stdlib", "added")}


def test_each_source_falls_back_by_itself(tmp_path: Path) -> None:
    assert modes_of(tmp_path, table("docs")) == {"docs": "expected", "stdlib": "scores", "added": "scores"}
    assert modes_of(tmp_path, table("*", "docs")) == {"docs": "expected", "stdlib": "scores", "added": "expected"}
    assert modes_of(tmp_path, table("*", "docs", "stdlib")) == dict.fromkeys(("docs", "stdlib", "added"), "expected")


def test_it_says_every_way_that_sources_are_judged(tmp_path: Path) -> None:
    def modes(found: Table) -> list[str]:
        return [one.settings.groups["text"].mode for one in served_under(project(tmp_path), "text", found).projects]

    assert modes(table("*", "docs", "stdlib")) == ["expected"]
    assert modes(table("docs")) == ["expected", "scores"]
    assert modes(table()) == ["scores"]


def test_where_all_fall_back_nobody_serves_the_faster_mode(tmp_path: Path) -> None:
    modes = served_under(project(tmp_path), "text", table())
    assert modes.project.settings.groups["text"].mode == "scores"


def test_a_head_falls_back_as_a_whole(tmp_path: Path) -> None:
    found = served_under(project(tmp_path, 'mode = "head"'), "text", table("*", "docs", mode="head"))
    assert found.project.settings.groups["text"].mode == "scores"
    assert found.said == [
        "sources that were not measured: judged in mode scores, mode head is not accepted for stdlib",
        "source docs: judged in mode scores, mode head is not accepted for stdlib",
        "source stdlib: judged in mode scores, the gain of mode head may lie -0.200 from that of scores,"
        " at most -0.01 is allowed",
    ]


def test_a_pinned_mode_stays_and_so_does_one_without_a_table(tmp_path: Path) -> None:
    assert set(modes_of(tmp_path, table(), 'mode = "expected"\nmode_pinned = true').values()) == {"expected"}
    assert set(modes_of(tmp_path, None).values()) == {"expected"}
    assert set(modes_of(tmp_path, table(), 'mode = "scores"').values()) == {"scores"}


@pytest.mark.parametrize("mode", ["expected", "head"])
def test_a_mode_that_the_table_lacks_is_not_accepted(tmp_path: Path, mode: str) -> None:
    lacking = replace(table(), modes={"scores": table().modes["scores"]})
    modes = served_under(project(tmp_path, f'mode = "{mode}"'), "text", lacking)
    assert {modes.section_of(name).mode for name in ("docs", "stdlib", "added")} == {"scores"}
    assert [one.settings.groups["text"].mode for one in modes.projects] == ["scores"]
    assert modes.said == [
        f"all sources: judged in mode scores, mode {mode} was not measured: mira-stream reliability --group text"
    ]
    assert modes_of(tmp_path, lacking, f'mode = "{mode}"\nmode_pinned = true')["docs"] == mode


def test_what_was_never_compared_is_not_accepted(tmp_path: Path) -> None:
    older = table("*", "docs", "stdlib")
    bare = {name: replace(one, acceptance=None) for name, one in older.modes["expected"].sources.items()}
    older.modes["expected"] = replace(older.modes["expected"], sources=bare)
    save_table(tmp_path / "table.json", older)
    modes = served_under(project(tmp_path), "text", load_table(tmp_path / "table.json"))
    assert modes.section_of("docs").mode == "scores"
    assert modes.said == [
        "all sources: judged in mode scores, mode expected was not compared with scores:"
        " mira-stream reliability --group text"
    ]
    few = served_under(project(tmp_path), "text", table(n=300))
    assert "300 held-out documents do not decide on mode expected, 500 do" in few.said[0]


INTERLEAVED = 'layout = "interleaved"\nmode = "expected"'


def chained(**accepted: str) -> Table:
    """Of a student of layout `interleaved`: by mode, the names of the sources it is accepted for beside `rationale`."""
    one = table()
    modes = {
        mode: replace(
            one.modes["expected"],
            sources={
                name: replace(
                    source,
                    acceptance=Acceptance(
                        against="rationale", n=700, difference_lo=-0.2, accepted=name in names.split()
                    ),
                )
                for name, source in one.modes["expected"].sources.items()
            },
        )
        for mode, names in accepted.items()
    }
    return replace(one, modes={**modes, "rationale": one.modes["scores"]})


@pytest.mark.parametrize("mode", ["expected", "head"])
def test_a_source_goes_on_to_the_next_slower_mode_until_one_is_accepted(tmp_path: Path, mode: str) -> None:
    asked = INTERLEAVED.replace("expected", mode)
    assert set(modes_of(tmp_path, chained(**{mode: "", "scores": ""}), asked).values()) == {"rationale"}
    found = modes_of(tmp_path, chained(**{mode: "", "scores": "stdlib"}), asked)
    assert found == {"docs": "rationale", "stdlib": "scores", "added": "rationale"}


def test_each_source_ends_in_a_mode_of_its_own_and_says_the_whole_way(tmp_path: Path) -> None:
    modes = served_under(project(tmp_path, INTERLEAVED), "text", chained(expected="docs", scores="stdlib"))
    assert {name: modes.mode_of(name) for name in ("docs", "stdlib", "added")} == {
        "docs": "expected", "stdlib": "scores", "added": "rationale",
    }  # fmt: skip
    assert [one.settings.groups["text"].mode for one in modes.projects] == ["expected", "scores", "rationale"]
    short = "may lie -0.200 from that of rationale, at most -0.01 is allowed"
    assert modes.said == [
        "sources that were not measured: judged in mode rationale,"
        f" the gain of mode expected {short}; the gain of mode scores {short}",
        f"source stdlib: judged in mode scores, the gain of mode expected {short}",
    ]


def test_a_slower_mode_that_was_not_measured_is_passed_over(tmp_path: Path) -> None:
    modes = served_under(project(tmp_path, INTERLEAVED), "text", chained(expected="docs"))
    assert (modes.mode_of("docs"), modes.mode_of("stdlib")) == ("expected", "rationale")
    assert modes.said[1].endswith("mode scores was not measured: mira-stream reliability --group text")


def test_a_comparison_with_another_mode_than_the_slowest_is_none(tmp_path: Path) -> None:
    older = table("*", "docs", "stdlib")
    older = replace(older, modes={**older.modes, "rationale": older.modes["scores"]})
    modes = served_under(project(tmp_path, INTERLEAVED), "text", older)
    assert {modes.mode_of(name) for name in ("docs", "stdlib", "added")} == {"rationale"}
    assert "mode expected was not compared with rationale" in modes.said[0]
