"""What relevance costs, counted in products of matrices and convolutions, in those of one gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from benchmarks.measure import products
from benchmarks.relevance_networks import vgg11_bn
from xai_fast import LRP
from xai_fast.models.resnet import resnet18_random

MOST = {"epsilon": 1.01, "epsilon_plus": 1.6, "epsilon_gamma_box": 1.8, "epsilon_alpha2_beta1": 2.1}


@pytest.mark.parametrize("composite", MOST)
@pytest.mark.parametrize("make", [resnet18_random, lambda: vgg11_bn(64)], ids=["resnet18", "vgg11_bn"])
def test_products_in_those_of_a_gradient(make: Callable[[], nn.Module], composite: str) -> None:
    model = make().requires_grad_(False)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    method = LRP(model, composite=composite, low=0, high=1)
    method.explain(x, 0)  # traces the model

    def gradient() -> None:
        point = x.clone().requires_grad_()
        torch.autograd.grad(model(point)[:, 0].sum(), point)

    assert products(lambda: method.explain(x, 0)) <= MOST[composite] * products(gradient)
