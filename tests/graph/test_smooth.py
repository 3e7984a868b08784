"""Piecewise linear activations are swapped for smooth ones while a model runs, however they are called."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # as everybody calls it
from torch import Tensor, nn

from xai_fast.errors import InputError
from xai_fast.graph.smooth import SMOOTH, remedy, smoothed
from xai_fast.taylor import hessian

X = torch.linspace(-8, 8, 41, dtype=torch.float64)
CALLS = {
    "module": nn.ReLU(),
    "module_in_place": lambda x: nn.ReLU(inplace=True)(x.clone()),
    "functional": F.relu,
    "torch": torch.relu,
    "torch_in_place": lambda x: torch.relu_(x.clone()),
    "method": lambda x: x.relu(),
    "method_in_place": lambda x: x.clone().relu_(),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("call", CALLS)
def test_relu_however_it_is_called(call: str, name: str) -> None:
    with smoothed(name):
        got = CALLS[call](X)
    torch.testing.assert_close(got, SMOOTH[name](X))
    assert torch.equal(CALLS[call](X), X.clamp(min=0))


OTHERS = {
    "relu6": (nn.ReLU6(), lambda x, s: s(x) - s(x - 6)),
    "leaky_relu": (nn.LeakyReLU(0.2), lambda x, s: 0.2 * x + 0.8 * s(x)),
    "hardtanh": (nn.Hardtanh(), lambda x, s: s(x + 1) - s(x - 1) - 1),
    "clamp": (lambda x: x.clamp(-2, 3), lambda x, s: s(x + 2) - s(x - 3) - 2),
    "clamp_named": (lambda x: torch.clamp(x, min=-2, max=3), lambda x, s: s(x + 2) - s(x - 3) - 2),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("other", OTHERS)
def test_what_is_made_of_ramps(other: str, name: str) -> None:
    function, expected = OTHERS[other]
    with smoothed(name):
        torch.testing.assert_close(function(X), expected(X, SMOOTH[name]))


@pytest.mark.parametrize("name", SMOOTH)
def test_the_swapped_function_is_near_and_bent(name: str) -> None:
    with smoothed(name):
        assert float((F.relu(X) - X.clamp(min=0)).abs().max()) < 0.2

    def score(x: Tensor) -> Tensor:
        with smoothed(name):
            return F.relu(x).sum(1)

    assert float(hessian(score, X[None]).abs().max()) > 0.5


def test_nothing_is_swapped_without_a_name() -> None:
    with smoothed(None):
        assert torch.equal(F.relu(X), X.clamp(min=0))
    assert remedy(None) is None
    assert "GELU" in str(remedy("gelu"))
    assert "softplus" in str(remedy("softplus"))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="smooth"), smoothed("swish"):
        pass
