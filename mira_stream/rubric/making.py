"""From points and their vectors to a rubric: fifteen clusters, named, described, with canonical examples. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from mira_stream.messages import DIMENSIONS, SLOTS
from mira_stream.rubric.anchors import Anchor, Example
from mira_stream.rubric.clustering import Vectors, kmeans
from mira_stream.rubric.naming import NamedCluster, NameRule, by_frequency, cluster_names
from mira_stream.rubric.points import Point

RUNNER_UPS: Final = 5
"""Other frequent names of a cluster that its anchor keeps."""
SCORE_MIN: Final = 1.0
SCORE_MAX: Final = 10.0


class Wanted(NamedTuple):
    """How the rubric is made."""

    seed: int
    name_rule: NameRule
    examples: int


class _Seen(NamedTuple):
    """What stands for one point of a cluster."""

    score: float
    reason: str
    document_id: str


def make_anchors(points: Sequence[Point], vectors: Vectors, wanted: Wanted) -> list[Anchor]:
    """Fifteen anchors, largest cluster first; `vectors` [n, d] are those of `points`.

    Raises ConfigError(points_too_few).
    """
    weights = np.array([len(point.mentions) for point in points], np.int64)
    clusters = kmeans(vectors, weights, DIMENSIONS, wanted.seed)
    members = [[points[index] for index in clusters.members(cluster)] for cluster in range(DIMENSIONS)]
    tables = [_table(nearest) for nearest in members]
    names = cluster_names(tables, wanted.name_rule)
    order = sorted(range(DIMENSIONS), key=lambda one: (-tables[one].size, names[one]))
    return [
        _anchor(slot, names[one], members[one], tables[one], wanted) for slot, one in zip(SLOTS, order, strict=True)
    ]


def _table(nearest: Sequence[Point]) -> NamedCluster:
    names: Counter[str] = Counter()
    for point in nearest:
        names[point.name] += len(point.mentions)
    return NamedCluster(nearest[0].name, names)


def _anchor(slot: str, name: str, nearest: Sequence[Point], table: NamedCluster, wanted: Wanted) -> Anchor:
    seen = [_typical(point) for point in nearest]
    return Anchor(
        slot=slot,
        name=name,
        description=_description(seen),
        examples=[
            Example(score=one.score, reason=one.reason, document_id=one.document_id)
            for one in _examples(seen, wanted.examples)
        ],
        cluster_size=table.size,
        runner_up_names=[other for other in by_frequency(table.names) if other != name][:RUNNER_UPS],
    )


def _typical(point: Point) -> _Seen:
    """The record with the median score of those that carry the point's name and reason."""
    mention = point.mentions[len(point.mentions) // 2]
    return _Seen(mention.score, point.reason, mention.document_id)


def _examples(seen: Sequence[_Seen], wanted: int) -> list[_Seen]:
    """The medoid, and of each other of `wanted` equal bands of the scale the point nearest the centroid; best first.

    `seen`: nearest first. A band nobody scored in leaves its place to the nearest point whose reason is not there yet.
    """
    chosen = [seen[0]]
    for band in set(range(wanted)) - {_band(seen[0].score, wanted)}:
        fitting = (one for one in seen if _band(one.score, wanted) == band and _is_new(one, chosen))
        chosen += [found for found in (next(fitting, None),) if found is not None]
    for one in seen:
        if len(chosen) >= wanted:
            break
        if _is_new(one, chosen):
            chosen.append(one)
    return sorted(chosen, key=lambda one: (-one.score, one.reason))


def _is_new(one: _Seen, chosen: Sequence[_Seen]) -> bool:
    return all(one.reason != other.reason for other in chosen)


def _band(score: float, bands: int) -> int:
    share = (score - SCORE_MIN) / (SCORE_MAX - SCORE_MIN)
    return min(bands - 1, int(share * bands))


def _description(seen: Sequence[_Seen]) -> str:
    """The reasons nearest the centroid at a high and at a low level: the outer two of three bands of the scale."""
    high = next((one for one in seen if _band(one.score, 3) == 2), None)
    low = next((one for one in seen if _band(one.score, 3) == 0), None)
    if high is not None and low is not None and high.reason != low.reason:
        return f"High ({high.score:g}): {_sentence(high.reason)} Low ({low.score:g}): {_sentence(low.reason)}"
    one = high or low or seen[0]
    return f"At {one.score:g}: {_sentence(one.reason)}"


def _sentence(words: str) -> str:
    """With one full stop at its end, unless it has one; nothing else of it is touched."""
    return words if words.endswith(".") else f"{words}."
