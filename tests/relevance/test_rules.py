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
