"""`mira-stream reliability` where other modes are measured beside the one that is asked for."""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec import structs
from msgspec.structs import replace

from consumers.cascading import held_out_pairs
from mira_stream.chance import u
from mira_stream.cli import measuring, served
from mira_stream.config import Project, load_project
from mira_stream.messages import Mask
from mira_stream.parquet import read_columns
from mira_stream.quality import judge as judge_scores
from mira_stream.quality import lens
from mira_stream.reliability.measure import Measured
from mira_stream.reliability.table import save_table
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.wanted import project_policies
from tests.flow.reliability_project import (
    TOML,
    labels,
    make_project,
    run,
    said,
    table_of,
    write_labels,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


def test_another_mode_stays_while_it_holds_and_is_dropped_aloud(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labels(root, labels(40))
    assert run(root, "--labels", str(path)) == 0
    (root / "mira.toml").write_text(TOML.replace('family = "text"', 'family = "text"\nmode = "expected"'))
    assert run(root, "--labels", str(path), "--json") == 0
    assert said(capsys)["dropped_modes"] == []
    assert list(table_of(root).modes) == ["expected", "scores"]
    longer = TOML.replace('family = "text"', 'family = "text"\ndocument_tokens_max = 400')
    (root / "mira.toml").write_text(longer)
    assert run(root, "--labels", str(path), "--json") == 0
    captured = capsys.readouterr()
    assert orjson.loads(captured.out)["dropped_modes"] == ["expected"]
    assert "dropped, to be measured anew: mode expected" in captured.err
    assert list(table_of(root).modes) == ["scores"]


def test_a_measured_head_whose_folder_is_gone_is_dropped_aloud(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labels(root, labels(40))
    assert run(root, "--labels", str(path)) == 0
    project, table = load_project(root, {}), table_of(root)
    measured_head = structs.replace(table.modes["scores"], lineage="of-the-head")
    save_table(project.reliability_path("text"), structs.replace(table, modes={"head": measured_head}))
    capsys.readouterr()
    assert run(root, "--labels", str(path), "--json") == 0
    assert said(capsys)["dropped_modes"] == ["head"]
    assert list(table_of(root).modes) == ["scores"]


def test_a_cascade_is_measured_as_it_will_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cascade = 'mode = "cascade"\nmode_pinned = true\ncascade = { cheap_document_tokens_max = 40 }\n'
    (root / "mira.toml").write_text(TOML.replace("context_tokens_max", cascade + "context_tokens_max"))
    seen: dict[str, list[str]] = {}

    def ask(project: Project, group: str, held_out: measuring.HeldOut, *_: object) -> list[Measured]:
        settings = project.settings.groups[group]
        seen[settings.mode] = [label.view for label in held_out.measured]
        share = 0.6 if settings.mode == "expected" else 0.1
        return [
            Measured(
                label.id,
                label.source,
                label.scores,
                [
                    min(10.0, s + (u("seed", f"{settings.mode}{label.id}{i}") < share))
                    for i, s in enumerate(label.scores)
                ],
                label.overall,
                label.recommendation,
                label.cluster,
            )
            for label in held_out.measured
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "ask_student", ask)
        assert run(root, "--labels", str(write_labels(root, labels(320))), "--json") == 0
    project, table = load_project(root, {}), table_of(root)
    own = lineage(project, "text")
    assert table.modes["cascade"].lineage == own
    assert all(full.startswith(cheap) for cheap, full in zip(seen["expected"], seen["scores"], strict=True))
    assert any(len(cheap) < len(full) for cheap, full in zip(seen["expected"], seen["scores"], strict=True))
    path = project.labels_path("text")
    measured = read_columns(path)
    ended = Counter(
        "cheap" if student == cheap else "full"
        for student, cheap, full in zip(
            measured["student_scores"], measured["cheap_scores"], measured["full_scores"], strict=True
        )
        if student in (cheap, full) and cheap != full
    )
    assert set(ended) == {"cheap", "full"}
    pairs = held_out_pairs(project, "text", own)
    assert {source: len(found) for source, found in pairs.items()} == {"letters": 32, "notes": 160}, "one a cluster"
    masks = [one for _, one in project_policies(project, lineage, read_columns).records if isinstance(one, Mask)]
    assert {mask.lineage for mask in masks} == {own}
    assert all(mask.prior is not None for mask in masks)
    assert held_out_pairs(project, "text", "another") == {}

    # 320 documents do not decide whether it may replace the full stage: without the pin that one judges.
    (root / "mira.toml").write_text((root / "mira.toml").read_text().replace("mode_pinned = true\n", ""))
    project = load_project(root, {})
    published = project_policies(project, lineage, read_columns)
    masks = [one for _, one in published.records if isinstance(one, Mask)]
    alone = replace(project.settings.groups["text"], mode="scores")
    assert {mask.lineage for mask in masks} == {lineage(project.judged_as("text", alone), "text")}
    assert all(mask.prior is not None for mask in masks)
    assert any(
        "source notes: judged in mode scores, 288 held-out documents do not" in one for one in published.warnings
    )
    prior = masks[0].prior
    assert prior is not None
    through = lens(masks[0])
    full = [judge_scores(scores, through).cell for scores in measured["full_scores"]]
    assert prior.documents in (32, 288)
    assert set(map(int, prior.cells)) <= set(full), "the prior is of the full stage's own scores"
    capsys.readouterr()


def test_each_slower_mode_is_asked_and_compared_with_the_slowest(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "mira.toml").write_text(
        TOML.replace("context_tokens", 'layout = "interleaved"\nmode = "expected"\ncontext_tokens')
    )
    asked: list[tuple[str, bool]] = []
    off = {"expected": 3.0, "scores": 0.0, "rationale": 0.0}

    def ask(project: Project, group: str, held_out: measuring.HeldOut, *given: Any) -> list[Measured]:
        mode = project.settings.groups[group].mode
        asked.append((mode, given[-1]))
        return [
            served.measured(
                label,
                [
                    min(10.0, max(1.0, s + off[mode] * (u("seed", f"{label.id}{i}") - 0.5) * 2))
                    for i, s in enumerate(label.scores)
                ],
            )
            for label in held_out.measured
        ]

    monkeypatch.setattr(measuring, "ask_student", ask)
    assert run(root, "--labels", str(write_labels(root, labels(640)))) == 0
    assert asked == [("expected", True), ("scores", True), ("rationale", True)]
    table, out = table_of(root), capsys.readouterr().err
    accepted = {mode: part.sources["*"].acceptance for mode, part in table.modes.items()}
    assert {mode: one and (one.against, one.accepted) for mode, one in accepted.items()} == {
        "expected": ("rationale", False), "scores": ("rationale", True), "rationale": None,
    }  # fmt: skip
    assert "*: not accepted beside rationale" in out
    assert "mode scores, *: accepted beside rationale" in out
    columns = {mode: part.scores_column for mode, part in table.modes.items()}
    assert columns == {"expected": "student_scores", "scores": "slower_scores", "rationale": "slower_rationale"}
    assert set(columns.values()) <= set(read_columns(load_project(root, {}).labels_path("text")))
    published = project_policies(load_project(root, {}), lineage, read_columns)
    masks = {one.source: one for _, one in published.records if isinstance(one, Mask)}
    assert {name: mask.lineage for name, mask in masks.items()} == {
        "notes": table.modes["scores"].lineage, "letters": table.modes["rationale"].lineage,
    }  # fmt: skip
    assert all(mask.prior is not None for mask in masks.values())
