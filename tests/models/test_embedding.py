"""The packaged model: unit vectors, equal texts once, any order; a missing model is said so."""

import numpy as np
import pytest

from mira_stream.embedding import Embedder
from mira_stream.errors import ConfigError

pytestmark = pytest.mark.models


def test_unit_vectors_whatever_the_order() -> None:
    embedder = Embedder()
    heard: list[tuple[int, int]] = []
    texts = ["a plan is named", "tests pass", "a plan is named", "the agent names its plan"]
    vectors = embedder.embed(texts, lambda done, total: heard.append((done, total)))
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert heard == [(3, 3)]
    assert (vectors[0] == vectors[2]).all()
    assert vectors[0] @ vectors[3] > vectors[0] @ vectors[1]
    assert (embedder.embed(texts[::-1])[::-1] == vectors).all()
    assert embedder.embed([]).shape == (0, 384)
    assert "MiniLM" in embedder.described


def test_a_model_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="embedding_missing"):
        Embedder("./no-such-folder").embed(["a"])
