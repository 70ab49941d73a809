"""Sources into groups, by what their documents say (MIRA, stage 1). Pure.

A source is the mean of its documents' unit vectors, made a unit vector again. Within a family, KMeans puts sources into
groups; how many is given, or chosen by the mean silhouette over cosine distances, if the best is good enough to speak
of groups at all.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mira_stream.errors import ConfigError
from mira_stream.sections import Family

Scope = Literal["global", "group", "source"]
Vector = NDArray[np.float32]

SILHOUETTE_MIN: Final = 0.25
"""Below it there is no substantial structure (Kaufman and Rousseeuw, Finding Groups in Data, 1990)."""
SOURCES_MIN: Final = 3
"""A silhouette needs at least two clusters and one source more."""
STARTS: Final = 16
GROUP_CHARACTERS_MAX: Final = 40


class SourceMean(NamedTuple):
    """A source and where its documents lie: a unit vector [d] over `documents` of them."""

    name: str
    family: Family
    vector: Vector
    documents: int


class Group(NamedTuple):
    """A group and its sources; `within`: mean cosine of its pairs of sources, None with a single one."""

    name: str
    family: Family
    sources: tuple[str, ...]
    within: float | None


class Grouping(NamedTuple):
    """Groups by family and name. `between`: cosine of the centroids of two groups of one family.

    `silhouettes`: of each family whose number of groups was chosen, the mean silhouette by number of groups.
    """

    groups: tuple[Group, ...]
    between: dict[tuple[str, str], float]
    silhouettes: dict[Family, dict[int, float]]

    @property
    def group_of(self) -> dict[str, str]:
        return {source: group.name for group in self.groups for source in group.sources}


class Placement(NamedTuple):
    """The nearest group to a source and its cosine; None if the source's family has no group."""

    group: str | None
    cosine: float | None
    cosines: dict[str, float]


def source_vector(vectors: Vector) -> Vector:
    """The unit vector of the mean of a source's document vectors [n, d]. Raises ValueError without documents."""
    if not len(vectors):
        raise ValueError("a source without documents is nowhere")
    mean = vectors.astype(np.float64).mean(axis=0)
    unit: Vector = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return unit


def group_sources(
    means: Sequence[SourceMean],
    *,
    k: Mapping[Family, int],
    scope: Scope,
    seed: int,
    known: Mapping[str, frozenset[str]] | None = None,
) -> Grouping:
    """Put sources into groups, family by family; a family that `k` does not name has its number chosen.

    `known`: groups that exist with their sources; one that is found again keeps its name. The order of `means` does
    not matter. Raises ConfigError(k_too_large).
    """
    split: list[tuple[Family, list[list[SourceMean]]]] = []
    silhouettes: dict[Family, dict[int, float]] = {}
    families: list[Family] = ["text", "qa", "agent"]
    for family in families:
        mine = sorted((one for one in means if one.family == family), key=lambda one: one.name)
        if not mine:
            continue
        parts, scores = _parts(mine, family, k.get(family, 0), scope, seed)
        if scores:
            silhouettes[family] = scores
        split.append((family, sorted(parts, key=lambda part: (-len(part), part[0].name))))
    groups = _named(split, scope, known or {})
    return Grouping(tuple(groups), _between(groups, means), silhouettes)


def place_source(new: SourceMean, groups: Mapping[str, Sequence[SourceMean]]) -> Placement:
    """The group of the new source's family whose centroid is nearest."""
    cosines = {
        name: float(_centroid(members) @ new.vector)
        for name, members in sorted(groups.items())
        if members and members[0].family == new.family
    }
    if not cosines:
        return Placement(None, None, {})
    nearest = max(cosines, key=lambda name: cosines[name])
    return Placement(nearest, cosines[nearest], cosines)


def cosines(means: Sequence[SourceMean]) -> NDArray[np.float64]:
    """Cosine of every pair of sources, [n, n]."""
    stacked = np.stack([one.vector for one in means]).astype(np.float64)
    return np.clip(stacked @ stacked.T, -1.0, 1.0)


def check_k(family: Family, k: int, different: int) -> None:
    """Whether so many sources are enough for `k` groups. Raises ConfigError(k_too_large)."""
    if k > different:
        raise ConfigError(
            "k_too_large",
            f"{k} groups of family {family} cannot be made of {different} different sources",
            f"use a smaller k ([grouping] k of mira.toml, or --k), or name each family's own: --k {family}={different}",
        )


def _parts(
    means: list[SourceMean], family: Family, k: int, scope: Scope, seed: int
) -> tuple[list[list[SourceMean]], dict[int, float]]:
    if scope == "global":
        return [means], {}
    if scope == "source":
        return [[one] for one in means], {}
    if k:
        check_k(family, k, _places(means))
        return _split(means, _labels(means, k, seed)), {}
    if len(means) < SOURCES_MIN:
        return [means], {}
    return _chosen(means, seed)


def _chosen(means: list[SourceMean], seed: int) -> tuple[list[list[SourceMean]], dict[int, float]]:
    """As many groups as the best silhouette says; one if even that shows no structure."""
    from sklearn.metrics import silhouette_score

    distance = 1.0 - cosines(means)
    np.fill_diagonal(distance, 0.0)
    distance = np.maximum(distance, 0.0)
    most = min(len(means) - 1, _places(means))
    labels = {k: _labels(means, k, seed) for k in range(2, most + 1)}
    scores = {k: float(silhouette_score(distance, found, metric="precomputed")) for k, found in labels.items()}
    if not scores or max(scores.values()) < SILHOUETTE_MIN:
        return [means], scores
    best = max(scores, key=lambda k: (scores[k], -k))
    return _split(means, labels[best]), scores


def _labels(means: list[SourceMean], k: int, seed: int) -> list[int]:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    stacked = np.stack([one.vector for one in means]).astype(np.float64)
    with threadpool_limits(limits=1):
        found = KMeans(k, n_init=STARTS, random_state=seed).fit(stacked).labels_
    return [int(label) for label in found]


def _places(means: list[SourceMean]) -> int:
    """How many sources lie at a place of their own."""
    return len({one.vector.tobytes() for one in means})


def _split(means: list[SourceMean], labels: list[int]) -> list[list[SourceMean]]:
    return [[one for one, own in zip(means, labels, strict=True) if own == label] for label in sorted(set(labels))]


def _named(
    split: Sequence[tuple[Family, list[list[SourceMean]]]], scope: Scope, known: Mapping[str, frozenset[str]]
) -> list[Group]:
    """Groups found again keep their names, which no new one gets: one name for two would be one group."""
    names_of = {members: name for name, members in known.items() if members}
    members = [frozenset(one.name for one in part) for _, parts in split for part in parts]
    taken = {names_of[found] for found in members if found in names_of}
    groups = []
    for family, parts in split:
        for number, part in enumerate(parts, 1):
            sources = tuple(one.name for one in part)
            name = names_of.get(frozenset(sources))
            if name is None:
                name = _free(_name(family, number, len(parts), scope, sources), taken)
                taken.add(name)
            groups.append(Group(name, family, sources, _within(part)))
    return groups


def _name(family: Family, number: int, many: int, scope: Scope, sources: tuple[str, ...]) -> str:
    if scope == "source":
        plain = re.sub(r"[^a-z0-9]+", "-", sources[0].lower()).strip("-")
        return plain[:GROUP_CHARACTERS_MAX].strip("-") or family
    return family if many == 1 else f"{family}-{number}"


def _free(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        ending = f"-{number}"
        free = name[: GROUP_CHARACTERS_MAX - len(ending)] + ending
        number += 1
    return free


def _centroid(members: Sequence[SourceMean]) -> NDArray[np.float64]:
    mean = np.stack([one.vector for one in members]).astype(np.float64).mean(axis=0)
    unit: NDArray[np.float64] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return unit


def _within(members: Sequence[SourceMean]) -> float | None:
    if len(members) < 2:
        return None
    found = cosines(members)
    return float(found[np.triu_indices(len(members), 1)].mean())


def _between(groups: Sequence[Group], means: Sequence[SourceMean]) -> dict[tuple[str, str], float]:
    by_name = {one.name: one for one in means}
    centroids = {group.name: _centroid([by_name[source] for source in group.sources]) for group in groups}
    return {
        (a.name, b.name): float(centroids[a.name] @ centroids[b.name])
        for index, a in enumerate(groups)
        for b in groups[index + 1 :]
        if a.family == b.family
    }
