"""Sensitivity and relative stability against their definitions, and against captum."""

from __future__ import annotations

from typing import Any

import literal_explained
import pytest
import torch
from networks import images, smooth_cnn
from torch import Tensor

from xai_fast import GradientXInput, InputError, Saliency, SmoothGrad
from xai_fast.engine.draws import random_entries
from xai_fast.metrics import relative_stability, sensitivity

IDS = [5, 2, 9]
OPTIONS: dict[str, Any] = {"samples": 4, "radius": 0.03, "seed": 3, "target": [1, 7, 2], "item_ids": IDS}


def changes(item: int, kind: str) -> Tensor:
    like = torch.empty(4, 3 * 144, dtype=torch.float64)
    noise = random_entries(like, torch.full((4,), IDS[item]), torch.arange(4), kind, 3, 2**31)
    return 0.03 * noise.view(4, 3, 12, 12)


def explain(item: int) -> literal_explained.Explain:
    model = smooth_cnn()

    def one(x: Tensor) -> Tensor:
        x = x[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(x).softmax(1)[0, OPTIONS["target"][item]], x)
        return (gradient * x)[0].detach()

    return one


@pytest.mark.parametrize("kind", ["box", "normal"])
def test_sensitivity_equals_the_definition(kind: str) -> None:
    x = images(3)
    got = sensitivity(GradientXInput(smooth_cnn()), x, perturbation=kind, internal_batch_size=5, **OPTIONS)
    for item in range(3):
        expected = literal_explained.sensitivity(explain(item), x[item], list(changes(item, kind)))
        found = [float(v[item]) for v in (got.values, got.average, got.lipschitz)]
        assert found == pytest.approx(expected, rel=1e-9)
    assert got.evaluations.tolist() == [5, 5, 5]
    assert got.targets is not None
    assert got.targets.tolist() == [1, 7, 2]


def test_relative_stability_equals_the_definition() -> None:
    x, model = images(3), smooth_cnn()
    got = relative_stability(GradientXInput(model), x, layer="3", internal_batch_size=5, **OPTIONS)
    assert got.representation is not None
    kept = []
    for item in range(3):
        expected, count = literal_explained.relative_stability(
            explain(item), lambda v: model(v[None])[0], lambda v: model[:4](v[None])[0], x[item], changes(item, "box")
        )
        found = [float(v[item]) for v in (got.values, got.output, got.representation)]
        assert found == pytest.approx(expected, rel=1e-8, nan_ok=True)
        kept.append(count)
    assert got.kept.tolist() == kept
    assert got.evaluations.tolist() == [10, 10, 10]


def test_changes_of_another_class_do_not_count() -> None:
    """Predictions next to a border: some changes cross it; where all do, there is no ratio."""
    border = torch.nn.Linear(2, 2, bias=False).double().eval()
    border.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    x = torch.tensor([[1.0, 0.99], [5.0, 1.0], [1.0, 1.0 - 1e-12]], dtype=torch.float64)
    got = relative_stability(Saliency(border), x, samples=8, radius=0.1)
    assert 0 < int(got.kept[0]) < 8
    assert int(got.kept[1]) == 8
    one = relative_stability(Saliency(border), x, samples=1, radius=0.1)
    assert (one.kept == 0).tolist() == one.values.isnan().tolist() == one.output.isnan().tolist()
    assert one.representation is None


def test_captum_agrees() -> None:
    captum = pytest.importorskip("captum")
    from captum.metrics import sensitivity_max

    model, x = smooth_cnn(), images(3)
    noise = torch.stack([changes(item, "box") for item in range(3)])

    def perturb(inputs: Tensor) -> Tensor:
        return (x[:, None] + noise).flatten(0, 1).requires_grad_()

    expected = sensitivity_max(
        captum.attr.Saliency(model).attribute,
        x.clone().requires_grad_(),
        perturb,
        n_perturb_samples=4,
        target=torch.tensor(OPTIONS["target"]),
    )
    got = sensitivity(Saliency(model, score="logit"), x, **OPTIONS)
    torch.testing.assert_close(got.values, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("metric", [sensitivity, relative_stability])
def test_items_do_not_depend_on_their_batch(metric: Any) -> None:
    method, x = SmoothGrad(smooth_cnn(), samples=3), images(3)
    whole = metric(method, x, **OPTIONS)
    alone = [
        metric(method, x[i : i + 1], **(OPTIONS | {"item_ids": IDS[i : i + 1], "target": OPTIONS["target"][i]}))
        for i in range(3)
    ]
    torch.testing.assert_close(torch.cat([one.values for one in alone]), whole.values, rtol=1e-9, atol=0)
    small = metric(method, x, internal_batch_size=2, **OPTIONS)
    torch.testing.assert_close(small.values, whole.values, rtol=1e-9, atol=0)


def test_random_numbers_of_a_method_are_those_of_the_item() -> None:
    """So that a method which samples is as stable as the mean that it estimates, here a constant."""
    linear = torch.nn.Linear(4, 3).double().eval()
    got = sensitivity(SmoothGrad(linear, samples=2, score="logit"), torch.randn(2, 4, dtype=torch.float64), target=1)
    assert got.values.tolist() == pytest.approx([0, 0], abs=1e-12)


def test_additional_arguments_go_along() -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: Tensor, scale: Tensor, power: int) -> Tensor:
            return scale * x**power

    x = torch.rand(2, 3, dtype=torch.float64) + 1
    scale = torch.tensor([[1.0, 2.0, 3.0], [5.0, 1.0, 1.0]], dtype=torch.float64)
    method = Saliency(Scaled().eval(), score="logit")
    both = sensitivity(method, x, target=0, relative=False, additional_forward_args=(scale, 2), internal_batch_size=3)
    one = sensitivity(method, x[1:], target=0, relative=False, additional_forward_args=(scale[1:], 2), item_ids=[1])
    torch.testing.assert_close(both.values[1:], one.values)
    assert float(both.values[1]) > 2 * float(both.values[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples: expected an integer, from 1"),
        ({"samples": 2**33}, "samples: expected"),
        ({"radius": 0.0}, "radius: expected a positive"),
        ({"perturbation": "ball"}, "perturbation: expected one of box, normal"),
        ({"seed": -1}, "seed: expected"),
        ({"target": 10}, "target: expected classes from 0 to 9"),
    ],
)
@pytest.mark.parametrize("metric", [sensitivity, relative_stability])
def test_errors_name_the_argument(metric: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        metric(Saliency(smooth_cnn()), images(1), **options)


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(InputError, match=r"method: expected a method, .*, got Sequential"):
        sensitivity(smooth_cnn(), images(1))
    with pytest.raises(InputError, match="inputs: expected one tensor"):
        sensitivity(Saliency(smooth_cnn()), (images(1), images(1)))
    with pytest.raises(InputError, match="layer: expected"):
        relative_stability(Saliency(smooth_cnn()), images(1), layer="nothing")
