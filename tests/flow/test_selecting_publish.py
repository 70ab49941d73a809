"""From a project directory into mira.policy."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mira_stream.config import Project, load_project
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS, Mask, Policy
from mira_stream.reliability.table import (
    Aggregate,
    Cell,
    ModeReliability,
    SourceReliability,
    Table,
    save_table,
)
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.publish import publish
from mira_stream.selecting.wanted import project_policies
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker

MIRA_TOML = """
[groups.text]
family = "text"
[groups.unused]
family = "qa"
[sources.books]
group = "text"
retention = 0.25
[sources.wiki]
group = "text"
[retention]
target = 0.4
unit = "tokens"
"""


def lineage(project: Project, group: str) -> str:
    return f"lineage-{group}"


def no_labels(path: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    raise AssertionError("no labels are there to be read")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mira.toml").write_text(MIRA_TOML)
    return tmp_path


def write_table(
    root: Path,
    mode: str = "scores",
    lineage: str = "lineage-text",
    mae: float = 1.0,
    warnings: Sequence[str] = (),
    labels: tuple[str, str] = ("", ""),
) -> None:
    cell = Cell(n=200, mae=0.5, rho=0.8, mae_hi=0.6, rho_lo=0.7, skill=0.4, bias=0.0, verdict="reliable")
    group = SourceReliability(
        n=200,
        aggregate=Aggregate(rho=0.8, overlap=0.8, gain=0.8),
        dimensions=dict.fromkeys(SLOTS, cell),
        warnings=list(warnings),
    )
    table = Table(
        group="text",
        rubric="r",
        labels_sha256=labels[0],
        split="heldout",
        limits=type(load_project(root).settings.mask.limits)(mae=mae, rho=0.3),
        modes={
            mode: ModeReliability(  # type: ignore[dict-item]
                lineage=lineage, means=[6.0] * 15, sources={"*": group}, labels_sha256=labels[1]
            )
        },
    )
    save_table(root / "reliability" / "text.json", table)


def test_every_source_gets_its_policy_and_its_mask(root: Path) -> None:
    write_table(root)
    wanted = project_policies(load_project(root), lineage, no_labels)
    kinds = [(key, type(message)) for key, message in wanted.records]
    assert kinds == [
        ("*", Policy), ("source:books", Policy), ("source:books", Mask), ("source:wiki", Policy), ("source:wiki", Mask),
    ]  # fmt: skip
    assert wanted.records[0][1] == Policy(
        retention=0.4, unit="tokens", band=0.1, threshold_scope="source", horizon_documents=500
    )
    assert wanted.records[1][1] == Policy(retention=0.25)
    assert "no held-out labels" in wanted.warnings[0]


def test_held_out_rows_make_the_prior(root: Path) -> None:
    write_table(root)
    (root / "labels").mkdir()
    (root / "labels" / "text.parquet").touch()

    def labels(path: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
        rows = [("books", "heldout", [5.0] * 15)] * 30 + [("books", "distill", None), ("books", "heldout", None)]
        return {name: [row[("source", "split", "student_scores").index(name)] for row in rows] for name in columns}

    wanted = project_policies(load_project(root), lineage, labels)
    masks = [message for _, message in wanted.records if isinstance(message, Mask)]
    assert [mask.prior.cells for mask in masks if mask.prior] == [{"500": 30.0}] * 2
    assert wanted.warnings == []


@pytest.mark.parametrize(("of_table", "of_mode"), [("own", ""), ("other", "own")])
def test_a_prior_is_of_the_scores_that_were_measured(root: Path, of_table: str, of_mode: str) -> None:
    (root / "labels").mkdir()
    (root / "labels" / "text.parquet").write_bytes(b"labels")
    hashes = {"own": sha256(b"labels").hexdigest(), "other": sha256(b"others").hexdigest(), "": ""}
    write_table(root, labels=(hashes[of_table], hashes[of_mode]))
    rows: dict[str, list[Any]] = {"source": [], "split": [], "student_scores": []}
    assert project_policies(load_project(root), lineage, lambda path, columns: rows).records
    (root / "labels" / "text.parquet").write_bytes(b"of another mode")
    with pytest.raises(ConfigError, match="labels_mismatch"):
        project_policies(load_project(root), lineage, lambda path, columns: rows)


def test_without_a_table_a_warning_stands(root: Path) -> None:
    wanted = project_policies(load_project(root), lineage, no_labels)
    assert ["no reliability table" in warning for warning in wanted.warnings] == [True]


def test_what_was_warned_of_when_it_was_measured_stands(root: Path) -> None:
    write_table(root, warnings=["shared_error: 9 dimensions pass, but the kept set does not"])
    wanted = project_policies(load_project(root), lineage, no_labels)
    assert wanted.warnings[0] == "group text, source *: shared_error: 9 dimensions pass, but the kept set does not"


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ({"lineage": "older"}, "lineage_mismatch"),
        ({"mode": "rationale"}, "mode_unmeasured"),
        ({"mae": 2.0}, "limits_mismatch"),
    ],
)
def test_a_table_of_something_else_is_refused(root: Path, table: dict[str, Any], code: str) -> None:
    write_table(root, **table)
    with pytest.raises(ConfigError) as refusal:
        project_policies(load_project(root), lineage, no_labels)
    assert refusal.value.code == code


async def test_publishing_again_writes_only_what_changed(root: Path) -> None:
    write_table(root)
    project, broker = load_project(root), MemoryBroker()
    await broker.create_topics(topic_specs(project), 1)

    async def put(project: Project) -> int:
        return (await publish(broker, project, lineage, no_labels)).written

    assert await put(project) == 5
    assert await put(project) == 0
    (root / "mira.toml").write_text(MIRA_TOML.replace("retention = 0.25\n", ""))
    changed = load_project(root)
    assert await put(changed) == 1
    follower = PolicyFollower("mira.policy", await broker.reader())
    await follower.start()
    rules = follower.log.rules("text", "books", "lineage-text")
    assert rules is not None
    assert (rules.target, rules.unit) == (0.4, "tokens")
    assert await put(changed) == 0
    assert [record.partition for record in broker.records("mira.policy")] == [0] * 6


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ('scope = "global"', "scope_too_wide"),
        ('scope = "group"', "retention_shared"),
        ("budget_tokens = 3\nexpected_tokens = 2", "budget_invalid"),
        ("budget_tokens = 3", "budget_invalid"),
    ],
)
def test_what_cannot_be_asked_of_all_sources_is_refused(root: Path, settings: str, code: str) -> None:
    (root / "mira.toml").write_text(MIRA_TOML + settings)
    write_table(root)
    with pytest.raises(ConfigError) as refusal:
        project_policies(load_project(root), lineage, no_labels)
    assert refusal.value.code == code


def test_a_token_budget_is_a_share_when_it_is_published(root: Path) -> None:
    (root / "mira.toml").write_text(MIRA_TOML + "budget_tokens = 30\nexpected_tokens = 100")
    write_table(root)
    wanted = project_policies(load_project(root), lineage, no_labels).records[0][1]
    assert isinstance(wanted, Policy)
    assert (wanted.retention, wanted.unit) == (0.3, "tokens")
