"""Logits of a large vocabulary never fill the machine, and holding fewer of them changes no value."""

from types import SimpleNamespace

import pytest
import torch

from mira_stream.selection import perplexity
from mira_stream.selection.perplexity import TransformersLikelihood, Window

pytestmark = pytest.mark.models

VOCABULARY = 50


class Network:
    """A causal model of one layer: the next token's logits are a row of a table. Notes how many rows it was given."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(vocab_size=VOCABULARY)
        self.table = torch.randn((VOCABULARY, VOCABULARY), generator=torch.Generator().manual_seed(7))
        self.rows: list[int] = []

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        self.rows.append(len(input_ids))
        return SimpleNamespace(logits=self.table[input_ids])


WINDOWS = [Window([(7 * i * i + length) % VOCABULARY for i in range(length)], first) for length, first in
           [(32, 1), (32, 16), (2, 1), (20, 7), (32, 31)]]  # fmt: skip


def test_windows_go_together_only_as_far_as_their_logits_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    together = TransformersLikelihood(network)(WINDOWS)
    assert network.rows == [5]
    monkeypatch.setattr(perplexity, "LOGITS_MAX", 2 * 32 * VOCABULARY)
    monkeypatch.setattr(perplexity, "POSITIONS", 5)
    assert TransformersLikelihood(network)(WINDOWS) == pytest.approx(together)
    assert network.rows[1:] == [2, 2, 1]
    monkeypatch.setattr(perplexity, "LOGITS_MAX", 1)
    assert TransformersLikelihood(network)(WINDOWS) == pytest.approx(together)
    assert network.rows[4:] == [1, 1, 1, 1, 1]


def test_the_sum_is_over_the_scored_tokens_each_given_the_one_before() -> None:
    network = Network()
    (found,) = TransformersLikelihood(network)([Window([3, 4, 5, 6], 2)])
    likelihoods = torch.log_softmax(network.table.double(), dim=-1)
    assert found == pytest.approx(-float(likelihoods[4, 5] + likelihoods[5, 6]), abs=1e-5)
