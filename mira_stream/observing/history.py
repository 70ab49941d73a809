"""The last hour, in as many points as a chart needs."""

from collections import deque
from typing import Final, NamedTuple

from mira_stream.observing.snapshot import STAGES, History, Lane, Stage, State

HOUR_MS: Final = 3_600_000
POINTS: Final = 240
STEP_MS: Final = HOUR_MS // POINTS
WORST: Final[dict[State, int]] = {"unknown": 0, "free": 1, "busy": 2, "full": 3, "down": 4}


class Point(NamedTuple):
    rate: float | None
    fill: float | None
    state: State


class Ring:
    """One point a step of 15 s and stage: the last rate, the largest fill and the worst state in it."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, dict[str, Point]]] = deque(maxlen=POINTS)

    def take(self, at_ms: int, stages: list[Stage]) -> None:
        begin = at_ms - at_ms % STEP_MS
        while self._steps and self._steps[0][0] <= begin - HOUR_MS:
            self._steps.popleft()
        if not self._steps or self._steps[-1][0] != begin:
            self._steps.append((begin, {}))
        points = self._steps[-1][1]
        for stage in stages:
            points[stage.name] = _worse(points.get(stage.name), Point(stage.rate_out, stage.fill, stage.state))

    def history(self) -> History:
        lanes = []
        for name in STAGES:
            points = [step[1][name] for step in self._steps]
            lanes.append(
                Lane(
                    name=name,
                    rate=[_short(point.rate, 2) for point in points],
                    fill=[_short(point.fill, 3) for point in points],
                    state=[point.state for point in points],
                )
            )
        return History(at_ms=[at_ms for at_ms, _ in self._steps], lanes=lanes)


def _worse(before: Point | None, now: Point) -> Point:
    if before is None:
        return now
    fills = [fill for fill in (before.fill, now.fill) if fill is not None]
    return Point(now.rate, max(fills, default=None), max(before.state, now.state, key=lambda state: WORST[state]))


def _short(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
