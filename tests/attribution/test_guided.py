"""Deconvolution and guided backpropagation equal a ReLU that torch.autograd pulls back in their way, and captum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai_fast import Deconvolution, GuidedBackprop

Activation = Callable[[Tensor], Tensor]


def literal(method: type, top: float = float("inf")) -> Activation:
    """Give min(max(x, 0), top) with the pull of the papers."""

    class Rectifier(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.clamp(0, top)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            passes = (x > 0) & (x < top) if method is GuidedBackprop else torch.ones_like(x, dtype=torch.bool)
            return torch.where(passes & (g > 0), g, 0.0)

    return Rectifier.apply


class Net(nn.Module):
    """A functional activation, a layer that runs twice, a residual sum, a pool, and an activation of another kind."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.again = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(6, 4)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.stem(x)))
        for _ in range(2):
            x = x + self.activation(self.again(x))
        x = F.max_pool2d(x, 2)
        x = F.leaky_relu(self.again(x), 0.3)
        return self.head(self.activation(F.gelu(self.again(x)).mean((2, 3))))


ACTIVATIONS: dict[str, tuple[Activation, float]] = {
    "relu": (torch.relu, float("inf")),
    "module": (nn.ReLU(), float("inf")),
    "in place": (lambda x: F.relu_(x.clone()), float("inf")),
    "relu6": (F.relu6, 6.0),
    "hardtanh": (lambda x: F.hardtanh(x, 0.0, 0.2), 0.2),
    "clamp": (lambda x: x.clamp(min=0), float("inf")),
    "clamp on both sides": (lambda x: x.clamp(0, 0.2), 0.2),
}
X = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
CLASSES = torch.tensor([0, 3, 1, 1, 2])
methods = pytest.mark.parametrize("method", [Deconvolution, GuidedBackprop])


def gradient(model: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(model(leaf).gather(1, classes[:, None]).sum(), leaf)[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@methods
def test_the_papers_relu(method: Any, activation: str) -> None:
    function, top = ACTIVATIONS[activation]
    expected = gradient(Net(literal(method, top)).double().eval(), X, CLASSES)
    model = Net(function).double().eval()
    found = method(model).explain(X, CLASSES, internal_batch_size=2)
    torch.testing.assert_close(found.attributions, expected, rtol=1e-10, atol=1e-12)
    times = method(model, times_input=True).attribute(X, CLASSES)
    torch.testing.assert_close(times, X * expected, rtol=1e-10, atol=1e-12)
    plain = gradient(model, X, CLASSES)
    assert (found.attributions - plain).abs().max() > 0.1 * plain.abs().max()


@methods
def test_other_activations_have_their_own_gradient(method: Any) -> None:
    model = Net(lambda x: F.hardtanh(F.silu(x), -0.1, 0.3)).double().eval()
    found = method(model).attribute(X, CLASSES)
    torch.testing.assert_close(found, gradient(model, X, CLASSES), rtol=1e-10, atol=1e-12)


@methods
def test_captum(method: Any) -> None:
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(6, 4)).double().eval()
    with pytest.warns(UserWarning, match="hooks"):
        expected = getattr(attr, method.__name__)(model).attribute(X.clone().requires_grad_(), target=CLASSES)
    found = method(model).attribute(X, CLASSES)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-10, atol=1e-12)
    assert not any(module._backward_pre_hooks or module._forward_pre_hooks for module in model.modules())


class Mixed(nn.Module):
    """Two inputs, and two keywords of which one has a row per item."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.picture, self.table = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)
        self.activation = activation

    def forward(self, picture: Tensor, table: Tensor, *, scale: float, weight: Tensor) -> Tensor:
        seen = self.activation(self.picture(picture)).mean((2, 3)) * weight[:, None]
        return scale * self.head(self.activation(seen - self.activation(self.table(table))))


@methods
def test_several_inputs_and_keywords(method: Any) -> None:
    table = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    given = {"scale": 2.0, "weight": torch.arange(1.0, 6.0, dtype=torch.float64)}
    leaves = [X.clone().requires_grad_(), table.clone().requires_grad_()]
    outputs = Mixed(literal(method)).double()(*leaves, **given)
    expected = torch.autograd.grad(outputs.amax(1).sum(), leaves)
    found = method(Mixed(torch.relu).double().eval()).explain((X, table), None, given, internal_batch_size=3)
    torch.testing.assert_close(found.attributions, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.scores, outputs.amax(1).detach())
    assert torch.equal(found.targets, outputs.argmax(1))
