"""The way back by taps against autograd, and where it is taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai_fast import LRP, IntegratedGradients
from xai_fast.engine import convolution
from xai_fast.engine.convolution import ByTaps, goes_by_taps, input_gradient

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
# Size, kernel, stride, padding and dilation, each per dimension; strides that leave a rest, kernels that skip places.
CASES = [
    ((7,), (3,), (1,), (1,), (1,)),
    ((9, 8), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((9, 8), (1, 1), (1, 1), (0, 0), (1, 1)),
    ((12, 11), (7, 5), (2, 3), (3, 0), (1, 1)),
    ((12, 11), (4, 4), (4, 4), (0, 0), (1, 1)),
    ((9, 9), (1, 2), (3, 4), (2, 1), (1, 1)),
    ((10, 9), (3, 2), (1, 2), (4, 2), (2, 3)),
    ((5, 6, 4), (2, 3, 1), (1, 2, 1), (1, 0, 0), (1, 1, 1)),
]


def drawn(case: tuple[tuple[int, ...], ...], items: int = 2) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
    size, kernel, *options = case
    return torch.randn(items, 3, *size).double(), torch.randn(5, 3, *kernel).double(), tuple(options)


@pytest.mark.parametrize("items", [0, 2])
@pytest.mark.parametrize("case", CASES)
def test_equals_autograd(case: tuple[tuple[int, ...], ...], items: int) -> None:
    x, weight, options = drawn(case, items)
    output = CONVOLUTIONS[x.ndim - 3](x.requires_grad_(), weight, None, *options)
    rows = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, x, rows)
    for given in (rows, rows.transpose(0, 1).contiguous().transpose(0, 1)):
        torch.testing.assert_close(input_gradient(given, weight, x.shape[2:], *options), expected)


@pytest.mark.parametrize("case", CASES)
def test_is_a_convolution_of_which_gradients_have_gradients(case: tuple[tuple[int, ...], ...]) -> None:
    x, weight, options = drawn(case)
    bias = torch.randn(5).double()
    expected = CONVOLUTIONS[x.ndim - 3](x, weight, bias, *options)
    torch.testing.assert_close(ByTaps.apply(x, weight, bias, *options), expected)
    point = x.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda v: ByTaps.apply(v, weight, bias, *options).square(), point)


def test_few_channels_and_no_groups_go_by_taps() -> None:
    options = ((1, 1), (0, 0), (1, 1), False, (0, 0), 1)
    chosen = [goes_by_taps(torch.zeros(outputs, inputs, 3, 3), options) for outputs, inputs in ((8, 3), (8, 8), (1, 1))]
    assert chosen == [True, False, False]
    assert not goes_by_taps(torch.zeros(8, 2, 3, 3), (*options[:5], 2))
    assert not goes_by_taps(torch.zeros(8, 3, 3, 3), (*options[:3], True, (0, 0), 1))


class Unpadded(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.first, self.options = nn.Conv2d(3, 6, 3).double(), options

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.first.weight, self.first.bias, **self.options).relu().flatten(2).sum(2)


@pytest.mark.parametrize(
    ("network", "taken"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU()), True),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.GELU()), True),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding="same"), nn.ReLU()), False),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding_mode="reflect", padding=1), nn.ReLU()), True),
        (lambda: Unpadded(stride=2), False),
    ],
)
def test_gradients_take_it(network: Any, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    end = [] if network().__class__ is Unpadded else [nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten()]
    model = nn.Sequential(network(), *end).double().eval()
    x, counted = torch.randn(3, 3, 8, 8).double(), []
    real = convolution.input_gradient
    monkeypatch.setattr(convolution, "input_gradient", lambda *given: counted.append(1) or real(*given))
    found = IntegratedGradients(model, steps=3, score="output").attribute(x, target=1)
    assert bool(counted) == taken
    monkeypatch.setenv("XAI_FAST_PREPARE", "off")
    torch.testing.assert_close(found, IntegratedGradients(model, steps=3, score="output").attribute(x, target=1))


def test_relevance_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4)).double()
    x = torch.randn(3, 3, 8, 8).double()
    found = LRP(model, composite="epsilon_plus").attribute(x, 1)
    monkeypatch.setattr(convolution, "_MOST_CHANNELS", 0)
    torch.testing.assert_close(LRP(model, composite="epsilon_plus").attribute(x, 1), found)
