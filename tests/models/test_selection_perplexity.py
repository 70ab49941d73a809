"""Mean negative log-likelihood: every token but the first counts once, whatever the windows and batches."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from mira_stream.errors import ConfigError
from mira_stream.selection.perplexity import Window, mean_nll, windows
from tests.models.selection_model import save_language_model
from tests.models.student_tiny import TEXTS

pytestmark = pytest.mark.models

MORE = [*TEXTS, "x", "", "other words: é 数 🙂"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random language model with a context of 64 tokens."""
    path = tmp_path_factory.mktemp("model")
    save_language_model(path)
    return path


def alone(folder: Path, text: str) -> float:
    """transformers' own loss of one text."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        return float(model(input_ids=ids, labels=ids).loss)


def test_the_mean_is_the_models_own_loss_in_any_batch(folder: Path) -> None:
    texts = [text for text in MORE if len(text) < 40]
    found = mean_nll(folder, texts)
    assert np.isnan(found[[texts.index("x"), texts.index("")]]).all()
    for text, value in zip(texts, found.tolist(), strict=True):
        if len(text) > 1:
            assert value == pytest.approx(alone(folder, text), abs=1e-4)
    assert np.allclose(mean_nll(folder, texts, batch_tokens=1), found, atol=1e-5, equal_nan=True)


def test_a_long_text_is_read_in_windows(folder: Path) -> None:
    assert np.isfinite(mean_nll(folder, [" ".join(TEXTS) * 3])).all()


@given(st.integers(0, 200), st.integers(2, 40))
def test_windows_score_every_token_but_the_first_once(count: int, tokens_max: int) -> None:
    scored: list[int] = []
    for window in windows(range(count), tokens_max):
        assert len(window.ids) <= tokens_max
        assert 1 <= window.first < len(window.ids)
        scored += window.ids[window.first :]
    assert scored == list(range(1, count))


def test_any_engine_that_knows_log_probabilities_fills_the_port() -> None:
    """Token t costs t nats: the mean over 1, 2, 3 is 2."""

    def engine(asked: Sequence[Window]) -> list[float]:
        return [float(sum(window.ids[window.first :])) for window in asked]

    found = mean_nll(engine, ["0123", "7"], tokenize=lambda text: [int(digit) for digit in text])
    assert found[0] == 2.0
    assert math.isnan(found[1])


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model_unreadable"):
        mean_nll(tmp_path, ["text"])
