"""A cascade on held-out documents: none is routed by what was fitted to itself."""

import numpy as np

from mira_stream.messages import SLOTS
from mira_stream.reliability.cascading import cascaded
from mira_stream.reliability.measure import Measured, Terms, measure
from mira_stream.sections import MaskLimits

TERMS = Terms(MaskLimits(mae=2.0, rho=0.1), 0.1, {"*": 0.4}, band=0.1)


def judged(count: int) -> tuple[list[Measured], dict[tuple[str, str], list[float]]]:
    """Rows of the full stage, two documents a cluster, and the cheap scores."""
    chance = np.random.default_rng(3)
    rows, cheap = [], {}
    for at in range(count):
        level = float(chance.uniform(2, 9))
        rows.append(Measured(f"d{at}", "a", [level] * 15, [level] * 15, 50.0, "keep", f"c{at // 2}"))
        cheap["a", f"d{at}"] = [min(10.0, max(1.0, level + float(chance.normal()) / 2))] * len(SLOTS)
    return rows, cheap


def sure(rows: list[Measured], cheap: dict[tuple[str, str], list[float]]) -> set[str]:
    """The documents whose cheap scores stand."""
    table = measure(rows, group="text", rubric="r", lineage="l", labels=b"", mode="scores", terms=TERMS)
    found = cascaded(rows, cheap, table.modes["scores"], TERMS, 0.1)
    return {row.id for row in found if row.student_scores == cheap["a", row.id]}


def test_what_a_cluster_is_routed_by_is_fitted_to_others() -> None:
    rows, cheap = judged(400)
    stand = sure(rows, cheap)
    assert 100 < len(stand) < 400
    # A cluster whose full scores contradict its cheap ones widens the half-width of others, not its own.
    for cluster in {row.cluster for row in rows if row.id in sorted(stand)[:6]}:
        told = [row._replace(student_scores=[1.0] * 15) if row.cluster == cluster else row for row in rows]
        own = {row.id for row in rows if row.cluster == cluster}
        assert sure(told, cheap) & own == stand & own


def test_too_few_to_promise_anything_are_all_sent_on() -> None:
    rows, cheap = judged(28)
    assert sure(rows, cheap) == set()
