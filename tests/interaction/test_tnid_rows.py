"""Effects of sets at each row equal Hessians by autograd, whatever the batch, and what does not fit is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tnid_examples import network, rows
from torch import Tensor, nn

from xai_fast import InputError, ModelError, XaiFastError, ZeroCurvatureError
from xai_fast.interaction import TNIDRows


@pytest.mark.parametrize("effect", ["signed", "absolute", "square"])
@pytest.mark.parametrize("target", [None, 1, [0, 1, 2, 0, 1], lambda outputs: outputs[:, 0] * outputs[:, 1]])
def test_effects_are_mixed_derivatives(effect: str, target: Any) -> None:
    model, x = network(6, 3), rows(5)
    sets, scales = [[1, 0], [2, 5], [3, 4]], [1.0, 2.0, 3.0, 0.5, 1.0, 1.0]
    got = TNIDRows(model, sets=sets, scales=scales, effect=effect).explain(x, target)
    classes = model(x).argmax(1).tolist() if target is None else [target] * 5 if isinstance(target, int) else target
    assert got.targets is None if callable(target) else got.targets.tolist() == classes
    for row in range(5):

        def score(v: Tensor, row: int = row) -> Tensor:
            outputs = model(v[None])
            return target(outputs)[0] if callable(target) else outputs[0, classes[row]]

        hessian = torch.autograd.functional.hessian(score, x[row])
        derivatives = torch.stack([hessian[i, j] * scales[i] * scales[j] for i, j in sets])
        wanted = {"signed": derivatives, "absolute": derivatives.abs(), "square": derivatives.square()}[effect]
        torch.testing.assert_close(got.attributions[row], wanted, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(got.scores[row], score(x[row]).detach())


def test_sets_by_name_and_what_is_recorded() -> None:
    model, x = network(), rows(3)
    by_name = TNIDRows(model, sets=[["b", "a"], ["c", "f"]], feature_names=list("abcdef"))
    assert torch.equal(by_name.attribute(x), TNIDRows(model, sets=[[0, 1], [2, 5]]).attribute(x))
    assert TNIDRows(model, order=3).attribute(x).shape == (3, math.comb(6, 3))
    assert by_name.settings["sets"] == [[0, 1], [2, 5]]


class Switched(nn.Module):
    """No curvature at rows whose last feature is negative."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x[:, 2] > 0, x[:, 0] * x[:, 1], x[:, 0] + x[:, 1])


def test_zero_curvature_is_a_fact_of_the_row() -> None:
    x = torch.tensor([[1.0, 2.0, 1.0], [1.0, 2.0, -1.0], [3.0, 1.0, 2.0]])
    got = TNIDRows(Switched().eval()).explain(x)
    assert got.facts["zero_curvature"].tolist() == [False, True, False]
    assert got.attributions[0].tolist() == [1.0, 0.0, 0.0]


def test_a_piecewise_linear_network_is_refused_and_smooth_helps() -> None:
    model, x = network(activation=nn.ReLU), rows(3)
    with pytest.raises(ZeroCurvatureError, match="piecewise linear"):
        TNIDRows(model).explain(x)
    gelu = network(activation=nn.GELU)
    found = TNIDRows(model, smooth="gelu").attribute(x)
    torch.testing.assert_close(found, TNIDRows(gelu).attribute(x), rtol=1e-9, atol=1e-12)
    assert TNIDRows(model, order=1).attribute(x).shape == (3, 6)


def test_weights_that_change_are_seen() -> None:
    model, x = network(), rows(3)
    method = TNIDRows(model)
    before = method.attribute(x)
    with torch.no_grad():
        model[-1].weight.mul_(2)
    torch.testing.assert_close(method.attribute(x), 2 * before, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TNIDRows(network(), sets=[]), InputError, "sets: expected lists of features"),
        (lambda: TNIDRows(network(), sets="ab"), InputError, "sets: expected lists of features"),
        (lambda: TNIDRows(network(), sets=[[0, 1], [1]]), InputError, "sets: expected sets of one length"),
        (lambda: TNIDRows(network(), sets=[[0, 0]]), InputError, "different features in a set"),
        (lambda: TNIDRows(network(), sets=[["a", "b"]]), InputError, "sets: expected features by place"),
        (lambda: TNIDRows(network(), sets=[["a", "g"]], feature_names=["a", "b"]), InputError, "got 'g'"),
        (lambda: TNIDRows(network(), order=7), InputError, "order: expected an integer, from 1 to 6"),
        (lambda: TNIDRows(network(), scales=[1.0, 0.0]), InputError, "scales: expected a positive"),
        (lambda: TNIDRows(network(), effect="sqare"), InputError, "effect: expected one of"),
        (lambda: TNIDRows(network(), sets=[[0, 6]]).explain(rows(2)), InputError, "features from 0 to 5, got 6"),
        (lambda: TNIDRows(network(), scales=[1.0]).explain(rows(2)), InputError, "a number for each of 6 features"),
        (lambda: TNIDRows(network()).explain(rows(2)[:, None]), InputError, "inputs: expected rows of numbers"),
        (lambda: TNIDRows(network()).explain(rows(2), None, 3), InputError, "additional_forward_args: expected None"),
        (lambda: TNIDRows(network()).explain(rows(2) * float("nan")), ModelError, "NaN"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[], object], error: type[XaiFastError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
