"""Two rubrics side by side: slots matched by name, the others by what they mean. Pure."""

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mira_stream.rubric.anchors import Anchor, Rubric

ALIKE_MIN: Final = 0.5
"""Cosine of two anchors' texts from which they are taken for one dimension under two names."""

How = Literal["same", "renamed", "removed", "added"]


class Match(NamedTuple):
    """A slot of the one rubric and its counterpart in the other, with the cosine of their texts."""

    how: How
    before: Anchor | None
    after: Anchor | None
    cosine: float | None


def anchor_text(anchor: Anchor) -> str:
    """What is embedded of an anchor."""
    return f"{anchor.name}: {anchor.description}"


def compare(
    before: Rubric, after: Rubric, vectors_before: NDArray[np.float32], vectors_after: NDArray[np.float32]
) -> list[Match]:
    """All slots of both: those of `before` in their order, then what `after` has more.

    Equal names are one dimension. The rest is matched so that the sum of cosines is largest; pairs below ALIKE_MIN
    are none. `vectors_*`: unit vectors [15, d] of `anchor_text`.
    """
    cosines = vectors_before.astype(np.float64) @ vectors_after.astype(np.float64).T
    place_after = {name: index for index, name in enumerate(after.names)}
    pairs = {index: place_after[name] for index, name in enumerate(before.names) if name in place_after}
    rest_before = [index for index in range(len(before.names)) if index not in pairs]
    rest_after = sorted(set(place_after.values()) - set(pairs.values()))
    renamed = {}
    if rest_before and rest_after:
        rows, columns = linear_sum_assignment(-cosines[np.ix_(rest_before, rest_after)])
        for row, column in zip(rows, columns, strict=True):
            one, other = rest_before[int(row)], rest_after[int(column)]
            if cosines[one, other] >= ALIKE_MIN:
                renamed[one] = other
    matches = []
    for index, anchor in enumerate(before.anchors):
        other_index = pairs.get(index, renamed.get(index))
        if other_index is None:
            matches.append(Match("removed", anchor, None, None))
        else:
            how: How = "same" if index in pairs else "renamed"
            matches.append(Match(how, anchor, after.anchors[other_index], float(cosines[index, other_index])))
    added = [index for index in rest_after if index not in renamed.values()]
    return matches + [Match("added", None, after.anchors[index], None) for index in added]
