"""The reliability table: its cells, its shape on disk, and the tables that are shipped."""

from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import orjson
import pytest

import mira_stream.demo
from mira_stream.chance import is_heldout
from mira_stream.config import MaskLimits, load_project
from mira_stream.distill.labels import is_measured
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS
from mira_stream.parquet import read_columns
from mira_stream.reliability.measure import MEASURED_SCHEMA, Measured, measure, measured_columns, verdict
from mira_stream.reliability.metrics import agreement
from mira_stream.reliability.table import Table, load_table, load_table_with_hash, save_table
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.lineage import lineage

LIMITS = MaskLimits()
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
    return measure(
        rows, group="g", rubric="r", lineage="0" * 12, labels=b"labels", limits=LIMITS, trim=0.1, mode="scores"
    )


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


def test_an_undecided_cell_takes_the_groups_verdict() -> None:
    teacher = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    unsure = agreement(teacher, [1, 2, 3, 4, 5, 6, 7, 8, 5, 4])
    good = agreement(teacher * 30, teacher * 30)
    bad = agreement(teacher * 30, teacher[::-1] * 30)
    assert verdict(unsure, good, LIMITS) == ("reliable", True)
    assert verdict(unsure, bad, LIMITS) == ("unreliable", True)
    assert verdict(good, bad, LIMITS) == ("reliable", False)
    assert verdict(unsure, unsure, LIMITS) == ("unreliable", True)  # its MAE of 1.0 decides


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
    assert all(is_heldout(name) and is_measured(name) for name in columns["id"])
    names = ("id", "source", "scores", "student_scores", "overall", "recommendation")
    rows = [Measured(*values) for values in zip(*(columns[name] for name in names), strict=True)]
    assert measured_columns(rows) == columns
    shipped = load_table(project.reliability_path(group))
    again = measure(
        rows,
        group=group,
        rubric=shipped.rubric,
        lineage=shipped.modes["scores"].lineage,
        labels=project.labels_path(group).read_bytes(),
        limits=project.settings.mask.limits,
        trim=project.settings.mask.trim,
        mode="scores",
    )
    assert again == shipped
