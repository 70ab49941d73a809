"""Muon in the precision that a CPU is fast at; torch's own is fixed to bfloat16.

Momentum made orthogonal by five Newton-Schulz steps (K. Jordan, kellerjordan.github.io/posts/muon), the update's size
matched to AdamW's: 0.2 sqrt(max(rows, columns)) (Liu et al. 2025, arXiv 2502.16982). Matrices of one shape are done
together. A test holds it to torch.optim.Muon.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

COEFFICIENTS: Final = (3.4445, -4.775, 2.0315)
ITERATIONS: Final = 5
EPSILON: Final = 1e-7
MATCHED: Final = 0.2


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Of matrices alone; weight decay is decoupled, momentum Nesterov's. Products are made in `dtype`."""

    def __init__(
        self, matrices: Sequence[Tensor], *, lr: float, weight_decay: float, momentum: float, dtype: torch.dtype
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    def step(self, closure: Callable[[], Any] | None = None) -> None:
        with torch.no_grad():
            self._step()

    def _step(self) -> None:
        for group in self.param_groups:
            updates: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                buffer = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(buffer, group["momentum"]).to(self.dtype)
                wide = update.T if _tall(weight) else update
                updates.setdefault(tuple(wide.shape), []).append((weight, wide))
            for (_, longer), pairs in updates.items():
                rate = MATCHED * group["lr"] * longer**0.5
                made = orthogonal(torch.stack([wide for _, wide in pairs]))
                for (weight, _), update in zip(pairs, made, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update.T if _tall(weight) else update, alpha=-rate)


def _tall(matrix: Tensor) -> bool:
    return bool(matrix.shape[0] > matrix.shape[1])


def orthogonal(matrices: Tensor) -> Tensor:
    """[N, rows, columns], rows <= columns -> nearly the nearest matrices with orthonormal rows (singular values
    between about 0.7 and 1.2)."""
    a, b, c = COEFFICIENTS
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
