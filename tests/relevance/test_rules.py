"""What every rule is: a linear map that goes back and forward."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from literal_relevance import RULES
from torch import nn

from xai_fast import LRP, BiLRP, InputError
from xai_fast.engine.call import Call
from xai_fast.engine.objective import Objective
from xai_fast.graph.whole import WholeModel
from xai_fast.relevance import Composite
from xai_fast.relevance.rules import AlphaBeta, Epsilon, Gamma, ZPlus
from xai_fast.relevance.walk import Layers, Walk


@pytest.mark.parametrize("bias", ["absorb", "zero", "keep"])
@pytest.mark.parametrize("rule", RULES)
def test_rows_go_forward_as_coefficients_go_back(rule: str, bias: str) -> None:
    torch.manual_seed(0)
    layers: list[Any] = [
        nn.Conv2d(2, 4, 3, 2),
        nn.Tanh(),
        nn.Conv2d(4, 3, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12, 3),
    ]
    model, x = nn.Sequential(*layers).double().eval(), torch.randn(5, 2, 8, 8, dtype=torch.float64)
    call = Call.of(model, x, Objective(0, "output"))
    with call.context():
        values = WholeModel(model).values(call, range(5))
        walk = Walk(values.traced.derived(Layers), values.state, RULES[rule], bias)
        for layer in walk.layers.weighted.values():
            share = walk.share(layer)
            z, a = values.state.tensor(layer.node.index), values.state.tensor(layer.source)
            c, rows = torch.randn(4, *z.shape, dtype=z.dtype), torch.randn(4, *a.shape, dtype=z.dtype)
            back, forward = (share.pull(c) * rows).flatten(1).sum(1), (share.push(rows) * c).flatten(1).sum(1)
            torch.testing.assert_close(forward, back, rtol=1e-9, atol=1e-9 * float(back.abs().max()))


def test_nodes_need_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def relevance(model: nn.Module) -> Any:
        return LRP(model, composite="epsilon_plus").explain(torch.ones(2, 2, 6, 6))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).eval()
    expected = relevance(model)
    assert expected.operations == ("0 convolution", "3 dense")
    monkeypatch.delattr(torch.fx.traceback, "annotate")  # as before torch 2.9
    found = relevance(copy.deepcopy(model))
    assert found.operations == ("convolution", "dense")
    assert torch.equal(found.attributions, expected.attributions)
    assert torch.equal(found.targets, expected.targets)


@pytest.mark.parametrize("rule", RULES)
def test_classes_in_parts_are_those_at_once(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 2, bias=False), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(12, 5)).double().eval()
    x = torch.randn(3, 2, 8, 8, dtype=torch.float64)
    method = LRP(model, composite=RULES[rule], classes=range(5), layer=["1", "4"])
    at_once = method.explain(x)
    monkeypatch.setattr("xai_fast.relevance.walk._REUSED", 2 * 8 * 4 * 36)  # two rows of the first convolution
    in_parts = method.explain(x)
    torch.testing.assert_close(in_parts.attributions, at_once.attributions, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(in_parts.inner, at_once.inner, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(in_parts.ledger, at_once.ledger, rtol=1e-10, atol=1e-12)


def test_a_class_out_of_range_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 4)).eval()
    with pytest.raises(InputError, match="classes: expected classes from 0 to 3, got 7"):
        LRP(model, classes=[1, 7]).explain(torch.ones(2, 3))
    with pytest.raises(InputError, match="classes: expected at least one class"):
        LRP(model, classes=[])


def test_the_first_argument_of_a_rule_is_its_own() -> None:
    assert Gamma(0.5) == Gamma(gamma=0.5)
    assert AlphaBeta(3, 2) == AlphaBeta(alpha=3, beta=2)
    assert Epsilon(0.1) == Epsilon(eps=0.1)
    assert ZPlus(eps=0.1).eps == 0.1


WRONG: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "shares": (lambda _: AlphaBeta(2, 0.5), r"alpha: expected beta \+ 1, .*, got alpha=2, beta=0.5"),
    "a rule alone": (lambda m: LRP(m, composite=Epsilon()), "composite: expected a Composite, or one of epsilon, "),
    "a name": (lambda m: BiLRP(m, composite="zplus"), "composite: expected a Composite, or one of .*, got 'zplus'"),
    "one bound": (lambda m: LRP(m, low=0.0), "low: expected two numbers or two per channel, .*high=None"),
    "equal bounds": (lambda m: LRP(m, low=[0.0, 1.0], high=1.0), "low: expected two numbers or two per channel"),
    "bounds of channels": (lambda m: LRP(m, low=[0.0, 1.0], high=[1.0, 2.0, 3.0]), "low: expected two numbers"),
    "bounds of pixels": (lambda m: BiLRP(m, low=torch.zeros(2, 3), high=1.0), "low: expected two numbers"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_option_is_named(wrong: str) -> None:
    call, message = WRONG[wrong]
    with pytest.raises(InputError, match=message):
        call(nn.Sequential(nn.Linear(3, 4)).eval())


CONVOLUTIONS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "no padding": (nn.Conv2d, {"kernel_size": 3}),
    "a kernel that is no square, dilated": (nn.Conv2d, {"kernel_size": (3, 2), "dilation": (2, 3), "padding": (1, 2)}),
    "more padding than kernel": (nn.Conv2d, {"kernel_size": 2, "padding": 3}),
    "strides": (nn.Conv2d, {"kernel_size": 3, "stride": (1, 2), "padding": 1}),
    "groups": (nn.Conv2d, {"kernel_size": 3, "groups": 2}),
    "transposed": (nn.ConvTranspose2d, {"kernel_size": 3, "padding": 1}),
    "one dimension, dilated": (nn.Conv1d, {"kernel_size": 3, "dilation": 2}),
    "three dimensions": (nn.Conv3d, {"kernel_size": 2, "padding": 1}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_linear_network_has_gradient_times_input_whatever_its_convolution(name: str) -> None:
    torch.manual_seed(0)
    kind, options = CONVOLUTIONS[name]
    dims = {nn.Conv1d: 1, nn.Conv3d: 3}.get(kind, 2)
    x = torch.randn(2, 4, 7, 6, 5, dtype=torch.float64)[(..., *[0] * (3 - dims))]
    model = nn.Sequential(kind(4, 6, bias=False, **options), nn.Flatten()).double().eval()
    exact = Composite({"convolution": Epsilon(eps=1e-14)}, eps=0.0)
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(point)[:, 3].sum(), point)
    torch.testing.assert_close(LRP(model, composite=exact).attribute(x, 3), x * gradient, rtol=1e-9, atol=1e-11)


def test_w2_gamma_by_its_formulas() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 16, 1, bias=False), nn.Conv2d(16, 4, 1, bias=False)
    model, x = nn.Sequential(first, nn.ReLU(), second, nn.Flatten()).double().eval(), torch.randn(2, 3, 1, 1).double()
    w, v = (layer.weight.detach().flatten(1) for layer in (first, second))
    hidden, score = (x.flatten(1) @ w.T).relu(), model(x).max(1).values.detach()
    assert (score > 0).all()
    shares = hidden * torch.stack([v[k] + 0.05 * v[k].relu() for k in model(x).argmax(1)])
    relevance = shares / shares.sum(1, keepdim=True) * score[:, None]
    expected = relevance @ (w.square() / w.square().sum(1, keepdim=True))
    found = LRP(model, composite="w2_gamma").attribute(x)
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-4, atol=1e-5)
