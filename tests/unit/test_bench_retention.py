"""The bench behind the claims on retention, in small: shares are met, the exact selection is nearly met."""

import numpy as np
import pytest

from bench.retaining.streams import KINDS
from bench.retention_accuracy import goals, measure, newcomers

SMALL = {kind.name: kind for kind in KINDS if kind.horizon == 500}


@pytest.mark.parametrize("name", SMALL)
def test_a_stream_keeps_its_share_and_nearly_the_exact_documents(name: str) -> None:
    row = measure(SMALL[name], sources=2, documents=10_000, seed=7)
    assert row["error_most"] <= 0.6
    assert row["agree_mean"] >= 0.92
    assert all(isinstance(one["met"], bool) for one in goals(SMALL[name], row))


def test_a_new_source_is_near_its_share_within_200_documents() -> None:
    errors = newcomers(sources=40, documents=200, seed=7)
    assert np.mean(errors) <= 3.0
    assert np.quantile(errors, 0.95) <= 8.0
