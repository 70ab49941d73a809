"""The loss on replies: scores are ordered, so a teacher's score is a small bump over its neighbours."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mira_stream.distill.recipe import Scratch


class Losses(NamedTuple):
    """Mean cross-entropy over the score tokens and over the other tokens of the replies (nats)."""

    total: Tensor
    scores: Tensor
    words: Tensor


def score_targets(spread: float) -> Tensor:
    """[10, 10]: row s - 1 is the target distribution of score s, a Gaussian of that spread, in points."""
    points = torch.arange(1, 11, dtype=torch.float32)
    if spread == 0:
        return torch.eye(10)
    weights = torch.exp(-((points[:, None] - points[None, :]) ** 2) / (2 * spread**2))
    return weights / weights.sum(1, keepdim=True)


def reply_loss(logits: Tensor, targets: Tensor, score_ids: Tensor, smoothed: Tensor, recipe: Scratch) -> Losses:
    """`logits` [N, vocabulary] at the places whose next token is `targets` [N]: a score's or a word's."""
    logs = functional.log_softmax(logits, dim=-1)
    which = targets[:, None] == score_ids[None, :]
    is_score = which.any(1)
    wanted = smoothed[which[is_score].int().argmax(1)]
    scores = -(wanted * logs[is_score][:, score_ids]).sum(1).mean()
    words = functional.nll_loss(logs[~is_score], targets[~is_score])
    return Losses(recipe.score_loss * scores + recipe.word_loss * words, scores, words)
