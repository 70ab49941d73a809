"""Our Muon is torch's, in any precision; and its state survives."""

import copy

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from mira_stream.distill.muon import Muon, orthogonal
from mira_stream.distill.optimizer import MuonAdamW

pytestmark = pytest.mark.models

SHAPES = [(8, 8), (16, 8), (8, 16), (12, 8), (8, 8)]


def matrices() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-5), (torch.float32, 4e-3)])
def test_muon_moves_as_torchs_does(dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = matrices(), matrices()
    mine = Muon(ours, lr=0.02, weight_decay=0.1, momentum=0.95, dtype=dtype)
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for step in range(5):
        torch.manual_seed(step)
        for one, two in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape)
            two.grad = one.grad.clone()
        mine.step()
        other.step()
    moved = max(float((one - was).detach().abs().max()) for one, was in zip(ours, matrices(), strict=True))
    assert moved > 0.05
    for one, two in zip(ours, theirs, strict=True):
        assert torch.allclose(one, two, atol=tolerance), float((one - two).abs().max())


def test_an_update_is_nearly_orthogonal() -> None:
    torch.manual_seed(2)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 16, 40)))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.4


def test_two_optimizers_behind_one_are_scheduled_and_restored_together() -> None:
    first, second = matrices()[:2]

    def build(one: torch.Tensor, two: torch.Tensor) -> tuple[MuonAdamW, LambdaLR]:
        muon = Muon([one], lr=0.1, weight_decay=0.0, momentum=0.9, dtype=torch.float32)
        both = MuonAdamW(muon, torch.optim.AdamW([two], lr=0.1))
        return both, LambdaLR(both, lambda step: 1 / (1 + step))

    def walk(one: torch.Tensor, two: torch.Tensor, both: MuonAdamW, rates: LambdaLR, steps: range) -> None:
        for step in steps:
            torch.manual_seed(step)
            one.grad, two.grad = torch.randn(one.shape), torch.randn(two.shape)
            both.step()
            rates.step()

    both, rates = build(first, second)
    walk(first, second, both, rates, range(3))
    assert [group["lr"] for part in both.parts for group in part.param_groups] == [0.025, 0.025]
    saved = copy.deepcopy((both.state_dict(), rates.state_dict(), first, second))
    walk(first, second, both, rates, range(3, 6))
    state, rate_state, third, fourth = saved
    again, rates_again = build(third, fourth)
    again.load_state_dict(state)
    rates_again.load_state_dict(rate_state)
    walk(third, fourth, again, rates_again, range(3, 6))
    assert torch.equal(first, third)
    assert torch.equal(second, fourth)
