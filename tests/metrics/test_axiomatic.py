"""Completeness, non-sensitivity and input invariance against their definitions."""

from __future__ import annotations

import math

import literal_explained
import pytest
import torch
from networks import bumpy_mlp, images, smooth_cnn, vectors
from torch import Tensor, nn

from xai_fast import GradientXInput, InputError, IntegratedGradients, Saliency
from xai_fast.engine.draws import random_entries
from xai_fast.metrics import completeness, input_invariance, non_sensitivity


def test_completeness_equals_the_definition() -> None:
    model, x, maps = smooth_cnn(), images(3), images(3, seed=9)
    got = completeness(model, x, maps, target=4, score="logit", baseline=[0.1, -0.2, 0.3])
    base = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)[:, None, None].expand(3, 12, 12)
    for item in range(3):
        difference = float((model(x[item][None]) - model(base[None]))[0, 4].detach())
        total = sum(maps[item].flatten().tolist())
        assert float(got.values[item]) == pytest.approx(abs(total - difference) / abs(difference), rel=1e-9)
        assert [float(got.sums[item]), float(got.differences[item])] == pytest.approx([total, difference], rel=1e-9)
    assert got.evaluations.tolist() == [2, 2, 2]


def test_completeness_of_integrated_gradients_and_of_nothing() -> None:
    model, x = smooth_cnn(), images(2)
    maps = IntegratedGradients(model, steps=60, baseline=0.1).attribute(x)
    assert (completeness(model, x, maps, baseline=0.1).values < 1e-3).all()
    zeros = torch.zeros_like(x)
    assert completeness(model, zeros, zeros).values.tolist() == [0, 0]
    assert completeness(model, zeros, zeros + 1).values.tolist() == [math.inf, math.inf]


class PartlyBlind(nn.Module):
    """A model that looks at some pixels only, in some channels."""

    def forward(self, x: Tensor) -> Tensor:
        rarely = (x[:, 0, 2] - 0.9).relu().sum(1)  # what some changes reach, and others do not
        return torch.stack([x[:, 0, 0, 1] * x[:, 1, 2, 3] + rarely, x[:, 2, 1].sum(1)], 1)


def test_non_sensitivity_equals_the_definition() -> None:
    x, maps = torch.rand(2, 3, 3, 4, dtype=torch.float64), torch.rand(2, 3, 3, 4, dtype=torch.float64)
    maps[:, :, 0, :2] = maps[:, :, 2, :3] = 0
    maps[1, :, 1] = -1e-9
    ids, target = [6, 2], [0, 1]
    got = non_sensitivity(
        PartlyBlind().eval(),
        x,
        maps,
        target=target,
        score="logit",
        samples=2,
        radius=0.5,
        seed=7,
        item_ids=ids,
        internal_batch_size=5,
    )
    for item in range(2):
        like = torch.empty(24, 3, dtype=torch.float64)
        noise = random_entries(like, torch.full((24,), ids[item]), torch.arange(24), "box", 7, 2**31)
        expected = literal_explained.non_sensitivity(
            lambda p, t=target[item]: float(PartlyBlind()(p.view(1, 3, 3, 4))[0, t]),
            x[item].flatten(1),
            maps[item].abs().sum(0).flatten().tolist(),
            0.5 * noise.view(12, 2, 3),
        )
        assert (int(got.missed[item]), int(got.invented[item])) == expected
        assert float(got.values[item]) == sum(expected)
    assert got.evaluations.tolist() == [25, 25]


def test_gradients_of_a_table_are_not_sensitive_to_blind_columns() -> None:
    model, x = bumpy_mlp(), vectors(3)
    model[0].weight.data[:, [1, 4]] = 0
    assert non_sensitivity(model, x, Saliency(model).attribute(x)).values.tolist() == [0, 0, 0]
    wrong = non_sensitivity(model, x, torch.ones_like(x))
    assert wrong.invented.tolist() == [2, 2, 2]
    assert wrong.missed.tolist() == [0, 0, 0]


@pytest.mark.parametrize("shift", [1.0, [0.5, -1.0, 2.0]])
def test_input_invariance_equals_the_definition(shift: float | list[float]) -> None:
    model, x = smooth_cnn(), images(3)
    added = torch.tensor(shift, dtype=torch.float64).view(-1, 1, 1).expand(3, 12, 12)
    got = input_invariance(GradientXInput(model), x, shift=shift, target=2, internal_batch_size=2)
    for item in range(3):
        leaf = x[item][None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf).softmax(1)[0, 2], leaf)
        before, after = gradient[0] * x[item], gradient[0] * (x[item] + added)
        expected = literal_explained.norm(after - before) / literal_explained.norm(before)
        assert float(got.values[item]) == pytest.approx(expected, rel=1e-9)
    assert (input_invariance(Saliency(model), x, shift=shift).values < 1e-12).all()


def test_input_invariance_with_additional_arguments() -> None:
    class Powers(nn.Module):
        def forward(self, x: Tensor, *, power: Tensor) -> Tensor:
            return (x + 3) ** power

    x = torch.rand(3, 3, dtype=torch.float64)
    power = torch.tensor([[1.0, 2.0, 3.0]] * 3, dtype=torch.float64)
    method = Saliency(Powers().eval(), score="logit")
    for shift in (0.5, torch.rand(3, 3, dtype=torch.float64)):
        got = input_invariance(method, x, shift=shift, target=2, additional_forward_args={"power": power})
        assert (got.values < 1e-12).all()


def test_errors_name_the_argument() -> None:
    model, x = smooth_cnn(), images(1)
    with pytest.raises(InputError, match="shift: expected"):
        input_invariance(Saliency(model), x, shift="red")
    with pytest.raises(InputError, match="baseline: expected"):
        completeness(model, x, x, baseline="red")
    with pytest.raises(InputError, match="radius: expected"):
        non_sensitivity(model, x, x, radius=0)
    with pytest.raises(InputError, match="attributions: expected finite"):
        completeness(model, x, x / 0)
