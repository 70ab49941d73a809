"""The reliability table: its cells, its shape on disk, and the tables that are shipped."""

from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import orjson
import pytest
from msgspec.structs import replace

import mira_stream.demo
from mira_stream.chance import is_heldout
from mira_stream.config import load_project
from mira_stream.distill.labels import is_measured
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS, Mode
from mira_stream.parquet import read_columns
from mira_stream.reliability.measure import (
    MEASURED_SCHEMA,
    Measured,
    Terms,
    measure,
    measured_columns,
    terms_of,
    verdict,
)
from mira_stream.reliability.metrics import agreement, own_verdict
from mira_stream.reliability.shrink import Shrunk
from mira_stream.reliability.table import Table, keep_modes, load_table, load_table_with_hash, save_table
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.lineage import lineage
from mira_stream.sections import MaskLimits

LIMITS = MaskLimits()
TERMS = Terms(LIMITS, 0.1)
DEMO = Path(mira_stream.demo.__file__).parent / "project"


def measured(source: str, count: int, noise: int, seed: int = 0) -> list[Measured]:
    chance = np.random.default_rng(seed)
    teacher = chance.integers(1, 11, (count, 15))
    student = np.clip(teacher + chance.integers(-noise, noise + 1, teacher.shape), 1, 10)
    student[:, 14] = 5
    return [
        Measured(f"{source}-{i}", source, t, s, 50.0, "downsample")
        for i, (t, s) in enumerate(zip(teacher.astype(float).tolist(), student.astype(float).tolist(), strict=True))
    ]


def table_of(rows: list[Measured]) -> Table:
    return measure(rows, group="g", rubric="r", lineage="0" * 12, labels=b"labels", mode="scores", terms=TERMS)


def test_good_cells_count_bad_ones_do_not() -> None:
    rows = [*measured("exact", 200, 0), *measured("wild", 200, 9, seed=1)]
    sources = table_of(rows).modes["scores"].sources
    assert list(sources) == ["*", "exact", "wild"]
    assert sources["exact"].reliable == SLOTS[:14]
    assert sources["exact"].dimensions["A1"].mae == 0
    assert sources["exact"].dimensions["A15"].verdict == "no_variance"
    assert sources["exact"].dimensions["A15"].rho is None
    assert sources["wild"].reliable == ()
    assert sources["*"].n == 400


def test_the_aggregate_tells_a_perfect_student_from_a_wild_one() -> None:
    exact = table_of(measured("exact", 200, 0)).modes["scores"].of("exact").aggregate
    near = table_of(measured("near", 200, 1)).modes["scores"].of("unheard-of").aggregate
    assert (exact.rho, exact.overlap, exact.gain) == (1.0, 1.0, 1.0)
    assert near.rho is not None
    assert near.overlap is not None
    assert near.gain is not None
    assert 0.8 < near.rho < 1
    assert 0.7 < near.overlap < 1
    assert 0.8 < near.gain <= 1


def test_an_undecided_cell_is_judged_by_its_values_shrunk_to_the_group() -> None:
    teacher = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] * 3
    unsure = agreement(teacher, [1, 2, 3, 4, 5, 6, 7, 8, 5, 4] * 3)
    good = agreement(teacher * 30, teacher * 30)
    bad = agreement(teacher * 30, teacher[::-1] * 30)
    assert own_verdict(unsure, LIMITS) == "undecided"
    assert verdict(unsure, Shrunk(0.7, 0.9, 0.8, 0.7), good, LIMITS) == "reliable"
    assert verdict(unsure, Shrunk(1.1, 1.3, 0.8, 0.7), good, LIMITS) == "unreliable"
    assert verdict(unsure, Shrunk(None, None, None, None), good, LIMITS) == "unreliable"
    assert verdict(good, Shrunk(9.0, 9.0, 0.0, 0.0), bad, LIMITS) == "reliable"
    assert verdict(unsure, None, unsure, LIMITS) == "unreliable"  # the whole group: its MAE of 1.0 decides


def test_a_source_of_three_documents_is_measured_and_borrows_its_verdicts() -> None:
    sources = table_of([*measured("large", 200, 0), *measured("tiny", 3, 9, seed=1)]).modes["scores"].sources
    tiny = sources["tiny"]
    assert (tiny.n, tiny.clusters) == (3, 3)
    assert {cell.own for cell in tiny.dimensions.values()} == {"undecided"}
    assert all(cell.shrunk and cell.mae_shrunk is not None for cell in tiny.dimensions.values())
    assert tiny.dimensions["A15"].verdict == "no_variance"
    assert tiny.warnings[0].startswith("undecided:")
    assert "3 independent held-out documents" in tiny.warnings[0]


@pytest.mark.parametrize("count", [1, 2, 3, 24])
def test_a_group_of_too_few_documents_decides_nothing(count: int) -> None:
    sources = table_of(measured("tiny", count, 0)).modes["scores"].sources
    assert {cell.verdict for source in sources.values() for cell in source.dimensions.values()} == {"undecided"}
    assert sources["tiny"].reliable == ()
    assert sources["tiny"].aggregate.rho is None
    assert [warning.split(":")[0] for warning in sources["*"].warnings] == ["undecided", "too_few_dimensions"]


def test_under_a_hundred_documents_a_warning_stands_and_copies_do_not_lift_it() -> None:
    few = table_of(measured("few", 99, 0)).modes["scores"].sources["few"]
    enough = table_of(measured("few", 100, 0)).modes["scores"].sources["few"]
    copied = [row._replace(cluster=f"c{i % 50}") for i, row in enumerate(measured("few", 200, 0))]
    assert [warning.split(":")[0] for warning in few.warnings] == ["few_documents"]
    assert enough.warnings == []
    assert (
        "50 independent held-out documents (200 with their copies)"
        in (table_of(copied).modes["scores"].sources["few"].warnings[0])
    )


def test_every_number_has_its_bounds() -> None:
    cell = table_of(measured("near", 200, 2)).modes["scores"].sources["near"].dimensions["A1"]
    assert cell.mae_lo is not None
    assert cell.mae_lo < cell.mae < cell.mae_hi
    assert cell.rho_lo is not None
    assert cell.rho is not None
    assert cell.rho_hi is not None
    assert cell.rho_lo < cell.rho < cell.rho_hi
    assert cell.skill_lo is not None
    assert cell.skill_hi is not None
    assert cell.skill_lo < cell.skill < cell.skill_hi
    assert cell.bias_lo is not None
    assert cell.bias_hi is not None
    assert cell.bias_lo < cell.bias < cell.bias_hi


def test_each_source_is_measured_at_its_own_target() -> None:
    rows = [*measured("a", 200, 2), *measured("b", 200, 2, seed=1)]
    terms = TERMS._replace(targets={"a": 0.2, "*": 0.7})
    table = measure(rows, group="g", rubric="r", lineage="l", labels=b"", mode="scores", terms=terms)
    sources = table.modes["scores"].sources
    assert [sources[name].aggregate.target for name in ("a", "b", "*")] == [0.2, 0.7, 0.7]
    assert sources["a"].aggregate.overlap_chance == 0.2
    nothing = measure(
        rows, group="g", rubric="r", lineage="l", labels=b"", mode="scores", terms=TERMS._replace(targets={"*": 0.0})
    )
    assert nothing.modes["scores"].sources["a"].aggregate.overlap is None


def test_a_source_without_held_out_documents_is_named() -> None:
    terms = TERMS._replace(sources=("near", "lost"))
    table = measure(
        measured("near", 200, 1), group="g", rubric="r", lineage="l", labels=b"", mode="scores", terms=terms
    )
    assert [warning.split(":")[0] for warning in table.modes["scores"].sources["*"].warnings] == ["unmeasured"]
    assert "lost" in table.modes["scores"].sources["*"].warnings[0]


def test_other_modes_stay_while_they_hold() -> None:
    before = table_of(measured("near", 60, 1))
    now = replace(before, modes={"rationale": before.modes["scores"]})
    kept = keep_modes(now, before, {"scores": "0" * 12})
    assert (list(kept.table.modes), kept.dropped) == (["rationale", "scores"], ())
    cases: list[tuple[Table, dict[Mode, str]]] = [
        (before, {"scores": "f" * 12}),
        (before, {}),
        (replace(before, rubric="other"), {"scores": "0" * 12}),
        (replace(before, limits=MaskLimits(mae=2.0)), {"scores": "0" * 12}),
    ]
    for old, lineages in cases:
        kept = keep_modes(now, old, lineages)
        assert (list(kept.table.modes), kept.dropped) == (["rationale"], ("scores",))
    assert keep_modes(before, before, {}) == (before, ())
    assert keep_modes(before, None, {}) == (before, ())


def test_a_table_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    value = orjson.loads(msgspec.json.encode(table_of(measured("near", 60, 1))))
    value.pop("retest", None)
    for source in value["modes"]["scores"]["sources"].values():
        del source["clusters"], source["warnings"]
        source["aggregate"] = {name: source["aggregate"][name] for name in ("rho", "overlap", "gain")}
        names = ("n", "mae", "rho", "mae_hi", "rho_lo", "skill", "bias", "verdict", "shrunk")
        source["dimensions"] = {
            slot: {name: cell[name] for name in names} for slot, cell in source["dimensions"].items()
        }
    (tmp_path / "g.json").write_bytes(orjson.dumps(value))
    table = load_table(tmp_path / "g.json")
    assert table.retest is None
    assert table.modes["scores"].of("near").aggregate.gain_lo is None


def test_a_table_goes_through_its_file(tmp_path: Path) -> None:
    table = table_of(measured("near", 200, 1))
    path = tmp_path / "reliability" / "g.json"
    save_table(path, table)
    loaded = load_table_with_hash(path)
    assert loaded.table == table
    assert loaded.sha256 == sha256(path.read_bytes()).hexdigest()
    cell = orjson.loads(path.read_bytes())["modes"]["scores"]["sources"]["*"]["dimensions"]["A15"]
    assert cell["rho"] is None
    assert cell["verdict"] == "no_variance"


@pytest.mark.parametrize("damage", [b"{", b"{}", b'{"schema":"reliability.v2"}'])
def test_a_damaged_table_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "g.json").write_bytes(damage)
    with pytest.raises(ConfigError, match="reliability_invalid"):
        load_table(tmp_path / "g.json")
    with pytest.raises(ConfigError, match="reliability_missing"):
        load_table(tmp_path / "h.json")


def test_a_table_without_the_whole_group_or_a_slot_is_refused(tmp_path: Path) -> None:
    value = orjson.loads(msgspec.json.encode(table_of(measured("near", 50, 1))))
    for remove in (("*",), ("near", "dimensions", "A7")):
        broken = orjson.loads(orjson.dumps(value))
        place = broken["modes"]["scores"]["sources"]
        for key in remove[:-1]:
            place = place[key]
        del place[remove[-1]]
        (tmp_path / "g.json").write_bytes(orjson.dumps(broken))
        with pytest.raises(ConfigError, match="reliability_invalid"):
            load_table(tmp_path / "g.json")


@pytest.mark.parametrize("group", ["text", "qa", "agent"])
def test_the_shipped_table_is_of_the_shipped_student(group: str) -> None:
    project = load_project(DEMO, {})
    table = load_table(project.reliability_path(group))
    mode = table.modes["scores"]
    assert table.rubric == load_rubric(project.rubric_path(group)).version
    assert table.labels_sha256 == sha256(project.labels_path(group).read_bytes()).hexdigest()
    assert mode.lineage == lineage(project, group)
    sources = {name for name, section in project.settings.sources.items() if section.group == group}
    assert set(mode.sources) == sources | {"*"}
    assert all(source.n >= 200 and len(source.reliable) >= 3 for source in mode.sources.values())


def test_the_shipped_students_reach_the_goal_over_all_cells() -> None:
    project = load_project(DEMO, {})
    rhos = [
        cell.rho
        for group in project.settings.groups
        for name, source in load_table(project.reliability_path(group)).modes["scores"].sources.items()
        if name != "*"
        for cell in source.dimensions.values()
    ]
    assert len(rhos) == 90
    assert sum(rho or 0 for rho in rhos) / len(rhos) >= 0.85


@pytest.mark.parametrize("group", ["text", "qa", "agent"])
def test_the_shipped_labels_are_of_measured_documents_and_make_the_table(group: str) -> None:
    project = load_project(DEMO, {})
    columns = read_columns(project.labels_path(group))
    assert list(columns) == list(MEASURED_SCHEMA)
    assert set(columns["split"]) == {"heldout"}
    assert all(map(is_heldout, columns["cluster"])), "a cluster of near-duplicates is on one side"
    assert all(is_measured(name) for name in columns["id"] if is_heldout(name))
    rows = [Measured(*values) for values in zip(*(columns[name] for name in Measured._fields), strict=True)]
    assert measured_columns(rows) == columns
    shipped = load_table(project.reliability_path(group))
    again = measure(
        rows,
        group=group,
        rubric=shipped.rubric,
        lineage=shipped.modes["scores"].lineage,
        labels=project.labels_path(group).read_bytes(),
        mode="scores",
        terms=terms_of(project.settings, group),
    )
    assert again.modes == shipped.modes
