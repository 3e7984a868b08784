"""Which axioms each method keeps, and which it breaks, on networks where the difference shows.

Completeness, linearity, dummy ("sensitivity (b)"), symmetry and implementation invariance are those of Sundararajan et
al., ICML 2017. What holds in the mean of draws only counts as broken here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import vectors
from torch import Tensor, nn

import xai_fast
from xai_fast import Method
from xai_fast.relevance import Composite, Epsilon


class Network(nn.Module):
    """A function of the first four of six entries, symmetric in the first two, that is 0 at 0."""

    def __init__(self, seed: int, other: bool = False) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        half = torch.randn(3, 4, generator=draws, dtype=torch.float64)
        self.first = torch.cat([half, half[:, [1, 0, 2, 3]]])
        self.last = torch.randn(1, 3, generator=draws, dtype=torch.float64).tile(2)
        self.other = other

    def forward(self, x: Tensor) -> Tensor:
        if self.other:  # by tanh(u + v) = (tanh u + tanh v) / (1 + tanh u tanh v)
            u, v = (torch.einsum("bi,ki->bk", x[:, part], self.first[:, part]).tanh() for part in ([0, 1], [2, 3]))
            return ((u + v) / (1 + u * v) * self.last).sum(1, keepdim=True)
        return torch.tanh(x[:, :4] @ self.first.T) @ self.last.T


class Combined(nn.Module):
    """Twice one network less three times another."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([Network(0), Network(1)])

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.parts[0](x) - 3 * self.parts[1](x)


X = vectors(4)
EQUAL = X[:, [0, 0, 2, 3, 4, 5]]

Attribute = Callable[..., Tensor]


def completeness(attribute: Attribute) -> tuple[Tensor, Tensor]:
    return attribute(Network(0)).sum(1), Network(0)(X)[:, 0]


def linearity(attribute: Attribute) -> tuple[Tensor, Tensor]:
    return attribute(Combined()), 2 * attribute(Network(0)) - 3 * attribute(Network(1))


def dummy(attribute: Attribute) -> tuple[Tensor, Tensor]:
    found = attribute(Network(0))
    return found, torch.cat([found[:, :4], torch.zeros(4, 2)], 1)


def symmetry(attribute: Attribute) -> tuple[Tensor, Tensor]:
    found = attribute(Network(0), EQUAL)
    return found, found[:, [1, 0, 2, 3, 4, 5]]


def invariance(attribute: Attribute) -> tuple[Tensor, Tensor]:
    return attribute(Network(0)), attribute(Network(0, other=True))


AXIOMS: dict[str, Callable[[Attribute], tuple[Tensor, Tensor]]] = {
    "C": completeness,
    "L": linearity,
    "D": dummy,
    "S": symmetry,
    "I": invariance,
}
SAMPLES = {"samples": 8}
EXACT = Composite({"dense": Epsilon(1e-13)}, eps=0.0)
METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "integrated gradients": ("CLDSI", "IntegratedGradients", {"steps": 80}),
    "expected gradients": ("LDSI", "ExpectedGradients", {"baselines": 0.0, **SAMPLES}),
    "GradientSHAP": ("LDI", "GradientSHAP", SAMPLES),
    "SmoothGrad": ("LDI", "SmoothGrad", SAMPLES),
    "guided IG": ("Dsi", "GuidedIG", {}),
    "NeFLAG": ("DI", "NeFLAG", {}),
    "saliency": ("LDSI", "Saliency", {"magnitude": False}),
    "gradient times input": ("LDSI", "GradientXInput", {}),
    "guided backpropagation": ("LDSI", "GuidedBackprop", {}),  # without a ReLU it is the gradient
    "DeepLIFT": ("CLDS", "DeepLIFT", {}),
    "DeepSHAP": ("CLDS", "DeepSHAP", {"baselines": torch.zeros(2, 6)}),
    "LRP, epsilon, no biases": ("CLDS", "LRP", {"composite": EXACT}),
    "occlusion": ("LDSI", "Occlusion", {"window": 1}),
    "feature ablation": ("LDSI", "FeatureAblation", {}),
    "Shapley values by all coalitions": ("CLDSI", "KernelSHAP", {}),
    "Shapley values by sampled coalitions": ("CLI", "KernelSHAP", {"samples": 20}),
    "Shapley values by orders": ("CLDI", "ShapleySampling", {"permutations": 8}),
    "quantitative input influence": ("CLDI", "QuantitativeInputInfluence", {"baseline": torch.zeros(1, 6)}),
    "LIME": ("LI", "LIME", {"samples": 20}),
    "RISE": ("LI", "RISE", {"masks": 9}),
}


@pytest.mark.parametrize("axiom", AXIOMS)
@pytest.mark.parametrize("name", METHODS)
def test_axiom(name: str, axiom: str) -> None:
    kept, method, options = METHODS[name]
    if axiom.lower() in kept:
        pytest.skip("of gradients that are as large, rounding decides which is the smaller")
    make: type[Method] = getattr(xai_fast, method)
    got, expected = AXIOMS[axiom](lambda model, x=X: make(model.eval(), score="output", **options).attribute(x))
    difference = float((got - expected).abs().max() / expected.abs().max())
    assert difference < 1e-8 if axiom in kept else difference > 1e-3, difference
