"""What a student from scratch is measured by while it is trained: loss, rho and MAE on held-out labels."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from mira_stream.distill.batches import collate, in_order
from mira_stream.distill.dataset import TrainingSet
from mira_stream.distill.decode import decode_scores
from mira_stream.distill.examples import Ids
from mira_stream.distill.recipe import Recipe
from mira_stream.distill.student import hidden_states, logits
from mira_stream.distill.targets import reply_loss, score_targets
from mira_stream.distill.tokenizer import vocabulary
from mira_stream.precision import fastest


class Watched:
    """Held-out examples, their prompts, and the teacher's scores [n, 15]."""

    def __init__(
        self,
        held: TrainingSet,
        prompts: Sequence[Ids],
        scores: NDArray[np.float64],
        tokenizer: PreTrainedTokenizerFast,
        recipe: Recipe,
    ) -> None:
        self.held = held
        self.prompts = prompts
        self.scores = scores
        self.tokenizer = tokenizer
        self.recipe = recipe

    def measure(self, model: Qwen3ForCausalLM) -> dict[str, float]:
        """eval_loss (that of training), eval_rho (Spearman, mean over dimensions), eval_mae (points).

        Of weights rounded to bfloat16, as the student will be served.
        """
        copied = copy.deepcopy(model).to(torch.bfloat16).to(fastest()).eval()
        given = decode_scores(copied, self.tokenizer, self.prompts)
        rho = mean_rho(self.scores, given)
        measured = {"eval_loss": self._loss(copied), "eval_mae": round(float(np.abs(given - self.scores).mean()), 4)}
        return measured if rho is None else {**measured, "eval_rho": round(rho, 4)}

    def _loss(self, model: Qwen3ForCausalLM) -> float:
        ids, smoothed = torch.tensor(vocabulary(self.tokenizer).scores), score_targets(self.recipe.scratch.score_spread)
        total, documents = 0.0, 0
        for length, indices in in_order(self.held.examples, self.recipe):
            piece = collate([self.held.examples[index] for index in indices], self.held.prefix, length)
            with torch.no_grad():
                states = hidden_states(model, piece.batch, model.dtype).flatten(0, 1)[piece.places]
                losses = reply_loss(logits(model, states), piece.targets, ids, smoothed, self.recipe.scratch)
            total += float(losses.total) * len(indices)
            documents += len(indices)
        return round(total / documents, 6)


def mean_rho(wanted: NDArray[np.float64], given: NDArray[np.float64]) -> float | None:
    """Spearman's rho of two [n, 15], mean over the dimensions in which the teacher varies; None if it does in none.

    A dimension in which only the student does not vary counts 0.
    """
    found = []
    for teacher, student in zip(wanted.T, given.T, strict=True):
        if np.ptp(teacher) == 0:
            continue
        varies = np.ptp(student) > 0
        found.append(float(np.corrcoef(rankdata(teacher), rankdata(student))[0, 1]) if varies else 0.0)
    return float(np.mean(found)) if found else None
