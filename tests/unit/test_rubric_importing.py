"""Anchor files with other field names: told from their names, shown, and refused in doubt."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from mira_stream.errors import ConfigError, MiraError, UsageError
from mira_stream.rubric.anchors import load_rubric
from mira_stream.rubric.importing import ImportedRubric, import_rubric

Row = dict[str, Any]


def rows(**more: Any) -> list[Row]:
    return [
        {
            "dim_id": f"A{number}",
            "dimension": f"Name {number}",
            "size": 100 - number,
            "canonical_examples": [{"rating": 8, "rationale": f"because\n{number}", "record_id": number}],
            "centroid": [0.5],
            **more,
        }
        for number in range(1, 16)
    ]


def without(field: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key != field} for row in rows()]


def imported(anchors: list[Row], **given: str) -> ImportedRubric:
    data = b"\n".join(orjson.dumps(row) for row in anchors)
    named = {key.replace("__", "."): value for key, value in given.items()}
    return import_rubric(data, "agent-4", named, teacher="Kimi-K2.6", created_by="test")


def names(found: ImportedRubric, path: Path) -> tuple[str, ...]:
    path.write_bytes(found.data)
    return load_rubric(path).names


def test_fields_are_told_from_their_names(tmp_path: Path) -> None:
    found = imported(rows())
    assert found.mapping["name"] == "dimension"
    assert found.mapping["examples.reason"] == "rationale"
    assert found.left_out == ["centroid"]
    path = tmp_path / "r.jsonl"
    path.write_bytes(found.data)
    rubric = load_rubric(path)
    assert rubric.header.teacher == "Kimi-K2.6"
    assert [anchor.cluster_size for anchor in rubric.anchors] == list(range(99, 84, -1))
    example = rubric.anchors[2].examples[0]
    assert (example.score, example.reason, example.document_id) == (8, "because 3", "3")


def test_the_version_is_of_the_content(tmp_path: Path) -> None:
    first, second, third = imported(rows()), imported(rows()), imported(rows(description="x"))
    assert first.data == second.data != third.data


def test_slots_order_the_anchors_whatever_they_count_from(tmp_path: Path) -> None:
    for number in (lambda place: place, lambda place: place + 1, lambda place: f"[A{place + 1}]"):
        anchors = [{**row, "dim_id": number(place)} for place, row in enumerate(rows())]
        found = imported(anchors[::-1])
        assert names(found, tmp_path / "r.jsonl")[:2] == ("Name 1", "Name 2")
        assert found.order == "as their slots say"


def test_without_slots_cluster_sizes_order_them_else_they_stand(tmp_path: Path) -> None:
    found = imported(without("dim_id")[::-1])
    assert (names(found, tmp_path / "r.jsonl")[0], found.order) == ("Name 1", "by cluster size")
    bare = [{key: value for key, value in row.items() if key != "size"} for row in without("dim_id")][::-1]
    found = imported(bare)
    assert (names(found, tmp_path / "r.jsonl")[0], found.order) == ("Name 15", "as they stand")


def test_what_could_be_two_fields_is_refused_until_said() -> None:
    both = [{**row, "title": row["dimension"]} for row in rows()]
    with pytest.raises(UsageError, match=r"name could be dimension or title.*Mapping so far: slot = dim_id"):
        imported(both)
    assert imported(both, name="title").mapping["name"] == "title"


@pytest.mark.parametrize("field", ["dimension", "canonical_examples"])
def test_a_field_that_is_missing_is_refused(field: str) -> None:
    with pytest.raises(UsageError, match=r"rubric_fields.*no field for"):
        imported(without(field))


def test_examples_without_a_score_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no field for examples\.score"):
        imported(rows(canonical_examples=[{"text": "x", "reason": "y"}]))
    found = imported(rows(canonical_examples={"points": 7, "reason": "y"}), examples__score="points")
    assert b'"score":7' in found.data


@pytest.mark.parametrize(
    ("anchors", "said"),
    [
        (rows()[:14], "14 anchors"),
        ([*rows()[:14], rows()[0]], "slots are|stands twice"),
        ([*rows()[:14], {**rows()[14], "dim_id": "B"}], "anchor 15: the slot"),
        (rows(canonical_examples=["a text"]), "anchor 1: examples"),
        (rows(canonical_examples=[]), "anchor 1: examples"),
        (rows(canonical_examples=[{"rating": 11, "rationale": "x"}]), "anchor 1: an example has the score 11"),
        (rows(canonical_examples=[{"rating": "high", "rationale": "x"}]), "anchor 1"),
        (rows(canonical_examples=[{"rating": 8, "rationale": " "}]), "anchor 1: an example"),
        (rows(dimension="same"), "stands twice"),
        (rows(dimension=7), "anchor 1"),
        (rows(part="think"), "five think"),
        (rows(part="sideways"), "anchor 1"),
        (rows(size=-1), "anchor 1: the cluster size"),
    ],
)
def test_values_that_are_none_are_refused_with_their_line(anchors: list[Row], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        imported(anchors)


@pytest.mark.parametrize("data", [b"", b"{", b"[1]\n" * 15, b"\xff" * 20])
def test_files_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(MiraError):
        import_rubric(data, "g", {}, teacher="t", created_by="c")


def test_the_part_is_told_by_what_a_field_says_whatever_its_name(tmp_path: Path) -> None:
    parts = ["think"] * 5 + ["combined"] * 5 + ["answer"] * 5
    found = imported([{**row, "Section": part} for row, part in zip(rows(), parts, strict=True)])
    assert found.mapping["part"] == "Section"
    assert "Section" not in found.left_out
    names(found, tmp_path / "r.jsonl")
    assert [anchor.part for anchor in load_rubric(tmp_path / "r.jsonl").anchors] == parts
    with pytest.raises(UsageError, match="part could be Section or of"):
        imported([{**row, "Section": part, "of": part} for row, part in zip(rows(), parts, strict=True)])


def test_an_anchor_may_be_its_own_example(tmp_path: Path) -> None:
    own = {"rationale": "because", "record_id": 1}
    flat = [{**row, **own, "rating": 10 - place % 5} for place, row in enumerate(without("canonical_examples"))]
    found = imported(flat)
    assert found.mapping["examples.score"] == "rating"
    names(found, tmp_path / "r.jsonl")
    anchors = load_rubric(tmp_path / "r.jsonl").anchors
    assert [anchor.examples[0].score for anchor in anchors] == [10 - place % 5 for place in range(15)]
    assert {anchor.examples[0].document_id for anchor in anchors} == {"1"}
    named = [{"how": row["rating"], **{k: v for k, v in row.items() if k != "rating"}} for row in flat]
    with pytest.raises(UsageError, match="no field for examples"):
        imported(named)
    assert imported(named, examples__score="how").mapping["examples.score"] == "how"


def test_unknown_names_of_ours_are_refused() -> None:
    with pytest.raises(UsageError, match="rubric_map"):
        imported(rows(), title="dimension")
    with pytest.raises(UsageError, match="no field 'nowhere'"):
        imported(rows(), name="nowhere")


def test_our_own_file_comes_back_as_it_was() -> None:
    own = imported(rows()).data
    assert import_rubric(own, "agent-4", {}, teacher="Kimi-K2.6", created_by="test").data == own
