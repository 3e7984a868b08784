"""One gradient per item: equal to that of torch.autograd, in one pass, and to captum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import images, smooth_cnn
from torch import Tensor, nn

from xai_fast import GradientXInput, InputError, ModelError, Saliency
from xai_fast.method import Method

FORMULAS: dict[str, tuple[Callable[..., Method], Callable[[Tensor, Tensor], Tensor]]] = {
    "magnitude": (Saliency, lambda x, g: g.abs()),
    "signed": (lambda model, **o: Saliency(model, magnitude=False, **o), lambda x, g: g),
    "times input": (GradientXInput, lambda x, g: x * g),
}
SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "auto": lambda z: z.softmax(1),
    "output": lambda z: z,
    "log_odds": lambda z: z.softmax(1).logit(),
}
formulas = pytest.mark.parametrize("formula", FORMULAS)


@pytest.mark.parametrize("score", SCORES)
@formulas
def test_the_formula(formula: str, score: str) -> None:
    make, expected = FORMULAS[formula]
    model, x = smooth_cnn(), images(5)
    leaf = x.clone().requires_grad_()
    scores = SCORES[score](model(leaf))[range(5), [0, 2, 1, 1, 0]]
    (gradient,) = torch.autograd.grad(scores.sum(), leaf)
    found = make(model, score=score).explain(x, [0, 2, 1, 1, 0], internal_batch_size=2)
    torch.testing.assert_close(found.attributions, expected(x, gradient), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.scores, scores.detach(), rtol=1e-12, atol=0)


@formulas
def test_captum(formula: str) -> None:
    attr = pytest.importorskip("captum.attr")
    model, x = smooth_cnn(), images(4)
    theirs: Any = attr.InputXGradient(model) if formula == "times input" else attr.Saliency(model)
    options = {} if formula == "times input" else {"abs": formula == "magnitude"}
    expected = theirs.attribute(x.clone().requires_grad_(), target=1, **options)
    found = FORMULAS[formula][0](model, score="output").attribute(x, 1)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-10, atol=1e-12)


class Counted(nn.Module):
    """Counts the items that go through it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.items = smooth_cnn(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.items += len(x)
        return self.inner(x)


def test_each_item_goes_through_the_model_once() -> None:
    model = Counted().eval()
    found = Saliency(model).explain(images(5), internal_batch_size=2)
    assert model.items == 5
    assert found.evaluations.tolist() == [1] * 5


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.mul_(2).flatten(1) * y[:, :1] ** 2


def test_several_inputs_that_the_model_changes() -> None:
    x, y = torch.rand(3, 4), torch.rand(3, 2)
    kept = x.clone()
    first, second = GradientXInput(Two().eval(), score="output").attribute((x, y), 1)
    picked = 2 * kept[:, 1] * y[:, 0] ** 2
    torch.testing.assert_close(first, torch.zeros(3, 4).index_copy(1, torch.tensor([1]), picked[:, None]))
    torch.testing.assert_close(second, torch.stack((2 * picked, torch.zeros(3)), 1))
    assert torch.equal(x, kept)


def test_errors() -> None:
    model, x = smooth_cnn(), images(2)
    for method in (Saliency, GradientXInput):
        with pytest.raises(InputError, match="score: expected one of auto"):
            method(model, score="logits")
        with pytest.raises(ModelError, match=r"model: expected .*gradient"):
            method(lambda v: model(v.detach())).explain(x)
