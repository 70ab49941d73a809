"""Names of the fifteen clusters (MIRA, "Anchor-name rule"). Pure, and independent of the order of the clusters.

 1. Each cluster wants a name: that of its medoid, or (rule `mode`) its most frequent one.
 2. Of the clusters that want the same name, the one with the most records labelled with that name keeps the bare form.
 3. Each other one gets a sub-label in parentheses: the most frequent name of its own that makes it unique.

Names keep their case: `Safety & scope` and `Safety & Scope` are two names.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Literal, NamedTuple

NameRule = Literal["medoid", "mode"]


class NamedCluster(NamedTuple):
    """A cluster's table of names: how many records carry each, and the name of the point nearest its centroid."""

    medoid: str
    names: Mapping[str, int]

    @property
    def size(self) -> int:
        return sum(self.names.values())


def cluster_names(clusters: Sequence[NamedCluster], rule: NameRule = "medoid") -> list[str]:
    """A name for each cluster, all different. Ties go to the larger cluster, then to the smaller table of names.

    Raises ValueError for a cluster without names, or whose medoid is none of them.
    """
    for cluster in clusters:
        if not cluster.names or cluster.medoid not in cluster.names:
            raise ValueError(f"the medoid {cluster.medoid!r} is none of the cluster's names")
    wanted = [_wanted(cluster, rule) for cluster in clusters]
    keepers = {name: _keeper(name, clusters, wanted) for name in set(wanted)}
    names = {index: name for name, index in keepers.items()}
    taken = set(wanted)
    for index in sorted(range(len(clusters)), key=lambda one: _place(clusters[one])):
        if index not in names:
            names[index] = _sublabelled(wanted[index], clusters[index], taken)
            taken.add(names[index])
    return [names[index] for index in range(len(clusters))]


def by_frequency(names: Mapping[str, int]) -> list[str]:
    """Names, most frequent first; of equally frequent ones in the order of the alphabet."""
    return sorted(names, key=lambda name: (-names[name], name))


def _wanted(cluster: NamedCluster, rule: NameRule) -> str:
    return cluster.medoid if rule == "medoid" else by_frequency(cluster.names)[0]


def _keeper(name: str, clusters: Sequence[NamedCluster], wanted: Sequence[str]) -> int:
    rivals = [index for index, one in enumerate(wanted) if one == name]
    return min(rivals, key=lambda index: (-clusters[index].names[name], _place(clusters[index])))


def _place(cluster: NamedCluster) -> tuple[int, list[tuple[str, int]], str]:
    """Orders clusters by what is in them: larger ones first."""
    return -cluster.size, sorted(cluster.names.items()), cluster.medoid


def _sublabelled(name: str, cluster: NamedCluster, taken: set[str]) -> str:
    """Numbers (2), (3), ... stand in where the cluster has no name of its own left."""
    own = [f"{name} ({other})" for other in by_frequency(cluster.names) if other != name]
    free = next((one for one in own if one not in taken), None)
    if free is not None:
        return free
    return next(one for number in count(2) if (one := f"{name} ({number})") not in taken)
