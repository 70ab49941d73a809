"""Scores out of the numbers of a regression head. Pure.

A head has an output a slot, in points (1 to 10 in the labels), and one for `overall`, in tenths of it. The rule:

- an output that is no finite number, or another count of them, means a broken head or engine: nothing of it is a score
  (all None; repairs `not_a_number:A3`, `outputs`);
- a regression may overshoot: what lies outside 0 to 10 becomes the nearer end, and is counted (`clipped:A3`);
- a score has four decimals, as in mode `expected`; `overall` is a whole number, as it is in a reply.

A head says no recommendation, tag or brief: they are None.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Final

from mira_stream.messages import DIMENSIONS, SLOTS
from mira_stream.scorecard.reading import Reading

OUTPUTS: Final = (*SLOTS, "overall")
"""What the outputs are, in their order."""
DECIMALS: Final = 4
_TEN: Final = 10.0


def read_outputs(outputs: Sequence[float]) -> Reading:
    """Never raises."""
    if len(outputs) != len(OUTPUTS):
        return _nothing(["outputs"])
    if wrong := [f"not_a_number:{name}" for name, value in zip(OUTPUTS, outputs, strict=True) if not isfinite(value)]:
        return _nothing(wrong)
    points = [min(max(value, 0.0), _TEN) for value in outputs]
    clipped = [f"clipped:{name}" for name, value, point in zip(OUTPUTS, outputs, points, strict=True) if point != value]
    *scores, overall = points
    whole = float(round(overall * _TEN))
    return Reading([round(score, DECIMALS) for score in scores], whole, None, None, None, clipped)


def _nothing(repairs: list[str]) -> Reading:
    return Reading([None] * DIMENSIONS, None, None, None, None, repairs)
