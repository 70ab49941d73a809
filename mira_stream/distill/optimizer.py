"""How a student from scratch is optimised: Muon inside the layers, AdamW around them, one learning rate over both.

With Muon, 120 steps of this task reach a rho of 0.83, where AdamW at the same rate had 0.22 and at its own best rate
0.59 after twice as many.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from mira_stream.distill.muon import Muon
from mira_stream.distill.recipe import Recipe
from mira_stream.distill.student import computed_in

MOMENTUM: Final = 0.95
BETA1: Final = 0.9
LOWEST_SHARE: Final = 0.02
"""Where the learning rate ends, as a share of its peak."""


class MuonAdamW(torch.optim.Optimizer):  # type: ignore[misc]
    """Two optimizers behind one: their parameter groups are shared, so that a scheduler sets the rate of both."""

    def __init__(self, muon: Muon, adamw: AdamW) -> None:
        self.parts = (muon, adamw)
        super().__init__(
            [weight for part in self.parts for group in part.param_groups for weight in group["params"]], {}
        )
        self._share_groups()

    def step(self, closure: Callable[[], float] | None = None) -> None:
        for part in self.parts:
            part.step(closure)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def new_optimizer(model: PreTrainedModel, recipe: Recipe) -> MuonAdamW:
    """Muon for the matrices inside the layers, AdamW for embeddings, norms and a head."""
    inner: list[Tensor] = []
    others: list[Tensor] = []
    for name, weight in model.named_parameters():
        (inner if weight.ndim == 2 and "layers." in name else others).append(weight)
    rate, decay = recipe.scratch.learning_rate, recipe.training.weight_decay
    return MuonAdamW(
        Muon(inner, lr=rate, weight_decay=decay, momentum=MOMENTUM, dtype=computed_in(recipe.scratch)),
        AdamW(others, lr=rate, betas=(BETA1, recipe.scratch.beta2), weight_decay=0.0, fused=True),
    )


def new_scheduler(optimizer: MuonAdamW, steps: int, recipe: Recipe) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: rate_share(step, steps, recipe.training.warmup_share))


def rate_share(step: int, steps: int, warmup_share: float) -> float:
    """The learning rate as a share of its peak: linear warm-up, then a cosine down to LOWEST_SHARE."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return LOWEST_SHARE + (1 - LOWEST_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
