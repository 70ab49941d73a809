"""Anchors out of points: sizes, examples at several levels, the same bytes for the same input."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from mira_stream.errors import ConfigError
from mira_stream.rubric.anchors import Anchor, RubricHeader, load_rubric, write_rubric
from mira_stream.rubric.clustering import kmeans
from mira_stream.rubric.freeform import FreeDimension
from mira_stream.rubric.making import Wanted, make_anchors
from mira_stream.rubric.points import Judged, Point, points_of

TOPICS = [f"Topic {number:02}" for number in range(15)]
WANTED = Wanted(seed=0, name_rule="medoid", examples=3)


def judged(documents: int) -> list[Judged]:
    """Every document has fifteen topics; its score and reason follow its number."""
    found = []
    for number in range(documents):
        score = 1 + number % 10
        dimensions = [FreeDimension(name=name, score=score, reason=f"level {score} of {name}") for name in TOPICS]
        found.append(Judged(f"d{number:03}", "books", dimensions))
    return found


def embedded(points: list[Point]) -> NDArray[np.float32]:
    """One axis a topic, and a little of another for the level, the middle levels nearest to it."""
    vectors = np.zeros((len(points), 16), np.float32)
    for row, point in enumerate(points):
        vectors[row, TOPICS.index(point.name)] = 1.0
        vectors[row, 15] = (point.mentions[0].score - 5) / 20
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def made(rows: list[Judged], wanted: Wanted = WANTED) -> list[Anchor]:
    points = points_of(rows)
    return make_anchors(points, embedded(points), wanted)


def test_anchors_have_names_sizes_and_examples_at_several_levels() -> None:
    anchors = made(judged(20))
    assert [anchor.slot for anchor in anchors] == [f"A{number}" for number in range(1, 16)]
    assert sorted(anchor.name for anchor in anchors) == TOPICS
    assert all(anchor.cluster_size == 20 for anchor in anchors)
    scores = [example.score for example in anchors[0].examples]
    assert len(scores) == 3
    assert scores[0] >= 7
    assert 4 <= scores[1] < 7
    assert scores[2] < 4
    assert anchors[0].description.startswith("High (")
    assert "Low (" in anchors[0].description


def test_a_teachers_words_stay_as_they_are() -> None:
    def said(one: Judged) -> Judged:
        reason = "see ../README, from 0..10"
        return one._replace(dimensions=[msgspec.structs.replace(part, reason=reason) for part in one.dimensions])

    assert "see ../README, from 0..10." in made([said(one) for one in judged(10)])[0].description


def test_larger_clusters_come_first() -> None:
    rows = judged(10)
    fewer = [one._replace(dimensions=one.dimensions[:14]) for one in rows[:-2]] + rows[-2:]
    anchors = made(fewer)
    assert (anchors[-1].name, anchors[-1].cluster_size) == ("Topic 14", 2)
    assert [anchor.cluster_size for anchor in anchors[:-1]] == [10] * 14


def test_the_same_input_gives_the_same_bytes_in_any_order() -> None:
    header = RubricHeader(group="g", teacher="t", created_by="test", seed=0)
    rows = judged(30)
    first = write_rubric(header, made(rows))
    assert write_rubric(header, made(rows[::-1])) == first
    assert write_rubric(header, made(rows[:-1])) != first


def test_the_file_reads_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rubric") / "g.jsonl"
    anchors = made(judged(10))
    path.write_bytes(write_rubric(RubricHeader(group="g", teacher="t", created_by="test", name_rule="medoid"), anchors))
    rubric = load_rubric(path)
    assert list(rubric.anchors) == anchors
    assert rubric.header.name_rule == "medoid"


def test_a_point_holds_all_its_records_in_the_order_of_score() -> None:
    rows = [
        Judged(f"d{score}", "s", [FreeDimension(name="Depth", score=score, reason="same words")]) for score in (9, 2, 8)
    ]
    (point,) = points_of(rows)
    assert point.text == "Depth: same words"
    assert [mention.score for mention in point.mentions] == [2, 8, 9]


def test_more_clusters_than_points_is_refused() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 3, 3]]
    with pytest.raises(ConfigError, match="points_too_few: 4 different points cannot make 5 clusters"):
        kmeans(vectors, np.ones(6, np.int64), 5, 0)
    assert len(set(kmeans(vectors, np.ones(6, np.int64), 4, 0).of)) == 4


def test_weights_count_like_copies() -> None:
    chance = np.random.default_rng(3)
    few = chance.normal(size=(12, 3)).astype(np.float32)
    weights = np.array([5, 1, 1, 2, 1, 1, 9, 1, 1, 1, 3, 1])
    weighted = kmeans(few, weights, 3, 0)
    copies = kmeans(np.repeat(few, weights, axis=0), np.ones(weights.sum(), np.int64), 3, 0)
    assert list(np.repeat(weighted.of, weights)) == list(copies.of)
    assert np.allclose(weighted.centres, copies.centres)
