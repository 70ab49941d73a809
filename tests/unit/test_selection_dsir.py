"""Our DSIR weighs as the authors' package does, to the bit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.selection.dsir import DsirModel, Featurizer, gumbel

RAW = [
    "def f(x):\n    return x + 1  # ünïcode, ΑΒΓ and İstanbul",
    "The quick brown fox; the QUICK brown fox!",
    "数据选择 に よる 訓練 🙂🙂 ...!?",
    "",
    "   \n\t ",
    "one",
    "naïve café — “quoted” … x_1 x-1 3.14 1e-8 \u00a0\u2003 e\u0301",
]
TARGET = ["return the quick x", "训练 データ 🙂", "café x_1 3.14"]


def reference(raw: list[str], target: list[str], folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from data_selection import HashedNgramDSIR

    def load(path: str) -> Iterator[dict[str, str]]:
        yield from ({"text": text} for text in (raw if path == "raw" else target))

    theirs = HashedNgramDSIR(["raw"], ["target"], str(folder), load, target_load_dataset_fn=load, num_proc=1)
    theirs.fit_importance_estimator()
    theirs.compute_importance_weights()
    weights = np.load(folder / "log_importance_weights" / "0.npy")
    return theirs.log_diff, weights, np.load(folder / "perexample_metadata" / "0.npy")


def test_log_differences_weights_and_lengths_are_the_authors_to_the_bit(tmp_path: Path) -> None:
    log_diff, weights, words = reference(RAW, TARGET, tmp_path)
    ours = DsirModel.fit(RAW, TARGET)
    assert ours.log_diff.tobytes() == log_diff.tobytes()
    found = ours.weights_and_words(RAW)
    assert found.log_weights.tobytes() == weights.tobytes()
    assert found.words.tolist() == words.tolist()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_counts_are_the_authors(text: str) -> None:
    from data_selection.hashed_ngram_dsir import get_ngram_counts

    assert Featurizer().counts(text).tolist() == get_ngram_counts(text).tolist()


def test_a_table_that_forgets_counts_alike() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mira_stream.selection.dsir._REMEMBERED", 2)
        small = [Featurizer().counts(text).tolist() for text in RAW]
    assert small == [Featurizer().counts(text).tolist() for text in RAW]


def test_what_looks_like_the_target_weighs_more() -> None:
    model = DsirModel.fit(RAW, TARGET)
    like, unlike = model.weights([TARGET[0], "fox fox fox fox"])
    assert like > unlike


def test_gumbel_noise_has_its_mean_and_no_infinity() -> None:
    noise = gumbel(np.linspace(0, 1, 10_001)[:-1])
    assert np.isfinite(noise).all()
    assert abs(noise.mean() - 0.5772) < 0.01
