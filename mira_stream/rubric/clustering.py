"""Points of a group into clusters: KMeans over unit vectors, equal points counted instead of repeated. Pure.

One thread, points in a fixed order, one seed: the same input gives the same clusters to the bit.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mira_stream.errors import ConfigError

STARTS: Final = 4
"""Starts of KMeans, of which the best is taken."""

Vectors = NDArray[np.float32]
Whole = NDArray[np.int64]


class Clusters(NamedTuple):
    """`of` [n]: each point's cluster; `centres` [k, d]; `distance` [n]: from each point to its centre."""

    of: Whole
    centres: NDArray[np.float64]
    distance: NDArray[np.float64]

    def members(self, cluster: int) -> Whole:
        """The cluster's points, nearest to its centre first; of equally near ones in their order."""
        found = np.flatnonzero(self.of == cluster)
        order: Whole = found[np.argsort(self.distance[found], kind="stable")].astype(np.int64)
        return order


def kmeans(vectors: Vectors, weights: Whole, k: int, seed: int) -> Clusters:
    """Cluster points [n, d] that stand for `weights` [n] records each.

    Points at one place are one point to the clustering. Raises ConfigError(points_too_few) if fewer than k places
    are different.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    places, place_of = np.unique(vectors, axis=0, return_inverse=True)
    place_of = place_of.reshape(-1)
    if len(places) < k:
        raise ConfigError(
            "points_too_few",
            f"{len(places)} different points cannot make {k} clusters",
            "judge more documents, or documents that differ more; a teacher that says the same of all shows nothing",
        )
    weight = np.bincount(place_of, weights=weights, minlength=len(places))
    with threadpool_limits(limits=1):
        model = KMeans(k, n_init=STARTS, random_state=seed, algorithm="lloyd")
        model.fit(places, sample_weight=weight)
    labels = np.asarray(model.labels_, np.int64)
    if len(np.unique(labels)) < k:
        raise ConfigError(
            "points_too_few", f"the points fall into fewer than {k} clusters", "judge more documents, or others"
        )
    centres = np.asarray(model.cluster_centers_, np.float64)
    distance = np.linalg.norm(places - centres[labels], axis=1)
    return Clusters(labels[place_of], centres, distance[place_of])
