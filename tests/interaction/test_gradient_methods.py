"""GLIDER and Integrated Hessians against closed forms and nested autograd."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from rankings import effects_of
from torch import Tensor, nn

from xai_fast import GLIDER, InputError, IntegratedHessians


class Formula(nn.Module):
    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x)


def module(formula: Callable[[Tensor], Tensor]) -> nn.Module:
    return Formula(formula).eval()


def network(outputs: int = 1) -> nn.Sequential:
    torch.manual_seed(outputs)
    layers = (nn.Linear(4, 9), nn.GELU(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, outputs))
    return nn.Sequential(*layers).double().eval()


def rows(count: int) -> Tensor:
    return torch.randn(count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


def literal_glider(
    model: nn.Module, x: Tensor, top_k: int
) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], float]]:
    """How many rows a pair is among the strongest of, and the mean of the squared derivatives."""
    pairs = list(itertools.combinations(range(x.shape[1]), 2))
    counts = dict.fromkeys(pairs, 0)
    means = dict.fromkeys(pairs, 0.0)
    for row in x:
        second = torch.autograd.functional.hessian(lambda v: model(v[None]).sum(), row)
        squares = {(i, j): float(second[i, j]) ** 2 for i, j in pairs}
        for pair in sorted(pairs, key=lambda p: -squares[p])[:top_k]:
            counts[pair] += 1
        for pair in pairs:
            means[pair] += squares[pair] / len(x)
    return counts, means


@pytest.mark.parametrize("top_k", [1, 3, 100])
def test_glider_counts_rows_and_averages_squares(top_k: int) -> None:
    model, x = network(), rows(17)
    counts, means = literal_glider(model, x, top_k)
    got = effects_of(GLIDER(model, top_k=top_k).detect(x))
    assert {pair: int(strength * 17 + 1e-9) for pair, strength in got.items()} == counts
    assert list(got) == sorted(counts, key=lambda pair: (-counts[pair], -means[pair]))
    assert effects_of(GLIDER(model, aggregate="mean").detect(x)) == pytest.approx(means, rel=1e-9)


def test_glider_of_a_product_finds_its_factors() -> None:
    model = module(lambda x: 3 * x[:, 0] * x[:, 1] + x[:, 2] ** 3)
    assert effects_of(GLIDER(model, aggregate="mean").detect(rows(5))) == {
        (0, 1): 9.0,
        (0, 2): 0.0,
        (0, 3): 0.0,
        (1, 2): 0.0,
        (1, 3): 0.0,
        (2, 3): 0.0,
    }


@pytest.mark.parametrize("score", ["logit", "probability", "log_probability"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_integrated_hessians_sum_to_the_change_of_the_score(outputs: int, score: str) -> None:
    model, x = network(outputs), rows(6)
    baseline = torch.tensor([0.3, -0.2, 0.1, 0.5], dtype=torch.float64)
    matrix = IntegratedHessians(model, score=score, baseline=baseline).matrix(x)
    target = model(x).argmax(1)

    def value(at: Tensor) -> Tensor:
        logits = model(at)
        if outputs == 1:
            rule = {"logit": lambda v: v, "probability": torch.sigmoid, "log_probability": nn.functional.logsigmoid}
            return rule[score](logits)[:, 0]
        many = {
            "logit": lambda v: v,
            "probability": lambda v: v.softmax(1),
            "log_probability": lambda v: v.log_softmax(1),
        }
        return many[score](logits).gather(1, target[:, None])[:, 0]

    change = value(x) - value(baseline.expand_as(x))
    torch.testing.assert_close(matrix.sum((1, 2)), change.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(matrix, matrix.transpose(1, 2), rtol=1e-9, atol=1e-12)


def test_integrated_hessians_of_monomials() -> None:
    # x0 x1: d2 = 1 and the integral of a b is 1/4; of x0, 1/2 of d_i dF/dx_i goes to the diagonal.
    x = rows(3)
    product = IntegratedHessians(module(lambda v: v[:, 0] * v[:, 1]), steps=1).matrix(x)
    both = x[:, 0] * x[:, 1]
    torch.testing.assert_close(product[:, 0, 1], both / 4)
    torch.testing.assert_close(product[:, 0, 0], both / 4)
    torch.testing.assert_close(product[:, 1, 1], both / 4)
    assert float(product[:, 2:].abs().max()) == 0
    # x0^2 x1: along the path d2F/dx0 dx1 = 2 u x0, and the integral of 2 a^2 b^2 is 2/9.
    cubic = IntegratedHessians(module(lambda v: v[:, 0] ** 2 * v[:, 1]), steps=2).matrix(x)
    torch.testing.assert_close(cubic[:, 0, 1], 2 / 9 * x[:, 0] ** 2 * x[:, 1])


def test_integrated_hessians_equal_the_double_integral() -> None:
    model, x = network(), rows(2)
    at, weight = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(14))
    at, weight = (at + 1) / 2, weight / 2
    want = torch.zeros(2, 4, 4, dtype=torch.float64)
    for (a, wa), (b, wb) in itertools.product(zip(at, weight, strict=True), repeat=2):
        for item, row in enumerate(x):
            point = a * b * row
            second = torch.autograd.functional.hessian(lambda v: model(v[None]).sum(), point)
            first = torch.autograd.functional.jacobian(lambda v: model(v[None]).sum(), point)
            want[item] += wa * wb * (a * b * second * row * row[:, None] + torch.diag(first * row))
    torch.testing.assert_close(IntegratedHessians(model, steps=40).matrix(x), want, rtol=1e-8, atol=1e-10)


def test_rows_are_brought_to_the_dtype_of_the_model() -> None:
    model, x = network().float(), rows(5)
    for method in (GLIDER(model), IntegratedHessians(model)):
        assert effects_of(method.detect(x.numpy())) == effects_of(method.detect(x.float()))


def test_pairs_are_the_mean_size_over_rows() -> None:
    model, x = network(), rows(5)
    method = IntegratedHessians(model)
    sizes = method.matrix(x).abs()
    mean, spread = sizes.mean(0), sizes.std(0, correction=0)
    for found in method.detect(x):
        assert found.effect == pytest.approx(float(mean[found.indices]))
        assert found.spread == pytest.approx(float(spread[found.indices]))
    torch.testing.assert_close(method.matrix(x)[2:3], method.matrix(x[2:3]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GLIDER(network(), top_k=0), "top_k: expected an integer"),
        (lambda: GLIDER(network(), aggregate="sum"), "aggregate: expected one of"),
        (lambda: IntegratedHessians(network(), steps=0), "steps: expected an integer"),
        (lambda: IntegratedHessians(network(), score="odds"), "score: expected one of"),
        (lambda: IntegratedHessians(network(), baseline=torch.zeros(3)).detect(rows(2)), "baseline: expected"),
        (lambda: IntegratedHessians(network(3)).detect(rows(2), target=5), "target: expected"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
