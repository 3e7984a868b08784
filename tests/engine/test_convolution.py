"""The way back through a convolution of few channels against autograd, and where it is taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai_fast import LRP, IntegratedGradients
from xai_fast.engine import convolution
from xai_fast.engine.convolution import FewChannels, input_gradient, reads_few_channels

# Height and width of the input, of the filter, stride and padding; strides that leave a rest, and filters of one place.
CASES = [
    ((9, 8), (3, 3), (1, 1), (1, 1)),
    ((9, 8), (1, 1), (1, 1), (0, 0)),
    ((12, 11), (7, 5), (2, 3), (3, 0)),
    ((12, 11), (4, 4), (4, 4), (0, 0)),
    ((9, 9), (1, 2), (3, 4), (2, 1)),
]


def drawn(case: tuple[tuple[int, ...], ...], channels: int, items: int = 2) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
    size, kernel, *options = case
    x, weight = torch.randn(items, channels, *size), torch.randn(5, channels, *kernel)
    return x.double().requires_grad_(), weight.double(), tuple(options)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "items"), [(1, 2), (3, 2), (3, 0)])
@pytest.mark.parametrize("case", CASES)
def test_equals_autograd(
    case: tuple[tuple[int, ...], ...], channels: int, items: int, memory_format: torch.memory_format
) -> None:
    x, weight, options = drawn(case, channels, items)
    output = F.conv2d(x, weight, None, *options)
    rows = torch.randn_like(output).to(memory_format=memory_format)
    (expected,) = torch.autograd.grad(output, x, rows)
    torch.testing.assert_close(input_gradient(rows, weight, x.shape[2:], *options), expected)


@pytest.mark.parametrize("case", CASES)
def test_is_a_convolution_whose_gradients_have_gradients(case: tuple[tuple[int, ...], ...]) -> None:
    x, weight, options = drawn(case, 3)
    bias = torch.randn(5).double()
    torch.testing.assert_close(FewChannels.apply(x, weight, bias, *options), F.conv2d(x, weight, bias, *options))
    assert torch.autograd.gradgradcheck(lambda v: FewChannels.apply(v, weight, bias, *options).square(), x)


@pytest.mark.parametrize(
    ("shape", "changed", "few"),
    [
        ((8, 3, 3, 3), {}, True),
        ((8, 8, 3, 3), {}, False),
        ((1, 1, 3, 3), {}, False),
        ((8, 3, 3), {}, False),
        ((8, 2, 3, 3), {5: 2}, False),
        ((8, 3, 3, 3), {3: True}, False),
        ((8, 3, 3, 3), {2: (2, 2)}, False),
    ],
)
def test_which_read_few_channels(shape: tuple[int, ...], changed: dict[int, Any], few: bool) -> None:
    options = {**dict(enumerate(((1, 1), (0, 0), (1, 1), False, (0, 0), 1))), **changed}
    assert reads_few_channels(torch.zeros(shape), list(options.values())) == few


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
