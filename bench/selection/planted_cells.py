"""Cells of known rho: does the mask take out what is noise, and nothing else?

Teacher scores are drawn on the 1..10 scale; a student's follow them at a rho that is planted: 0, or between 0.6 and
0.95. The project's own measure and limits give the verdicts. A cell that is masked with rho 0 is a hit.
"""

from typing import Final, NamedTuple

import numpy as np

from mira_stream.messages import DIMENSIONS, SLOTS
from mira_stream.reliability.measure import Measured, Terms, measure
from mira_stream.sections import MaskLimits

SPREAD: Final = 0.8
"""Standard deviation of scores: small enough that a rho of 0.6 keeps the MAE under its limit of 1."""


class MaskQuality(NamedTuple):
    """Of masked cells, those planted as noise; of those planted as noise, the masked."""

    precision: float
    recall: float
    cells: int


def mask_quality(sources: int, documents: int, seed: int) -> MaskQuality:
    """Half of the cells of `sources` sources are noise, `documents` held-out documents each."""
    chance = np.random.default_rng(seed)
    rows: list[Measured] = []
    noise: dict[str, np.ndarray] = {}
    for number in range(sources):
        name = f"source{number}"
        noise[name] = chance.random(DIMENSIONS) < 0.5
        rho = np.where(noise[name], 0.0, chance.uniform(0.6, 0.95, DIMENSIONS))
        wanted = chance.normal(size=(documents, DIMENSIONS))
        given = rho * wanted + np.sqrt(1 - rho**2) * chance.normal(size=(documents, DIMENSIONS))
        scores, answers = _on_scale(wanted), _on_scale(given)
        rows += [
            Measured(f"{name}/{i}", name, scores[i].tolist(), answers[i].tolist(), 50.0, "keep")
            for i in range(documents)
        ]
    table = measure(
        rows, group="planted", rubric="", lineage="", labels=b"", mode="scores", terms=Terms(MaskLimits(), 0.1)
    )
    cells = table.modes["scores"].sources
    masked = {name: np.array([cells[name].dimensions[slot].verdict != "reliable" for slot in SLOTS]) for name in noise}
    hits = sum(int((masked[name] & noise[name]).sum()) for name in noise)
    return MaskQuality(
        hits / max(1, sum(int(found.sum()) for found in masked.values())),
        hits / max(1, sum(int(planted.sum()) for planted in noise.values())),
        sources * DIMENSIONS,
    )


def _on_scale(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(5.5 + SPREAD * values), 1, 10)
