"""BlurIG equals the literal sum over scales, and is complete: exactly for a linear model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comparison import relative_rms
from literal_walks import blur_ig
from networks import bumpy_mlp, smooth_cnn, vectors
from networks import images as pictures
from torch import Tensor, nn

from xai_fast import BlurIG, InputError


class Sines(nn.Module):
    """A score of any shape of items."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        weights = torch.linspace(-1, 1, x.shape[1], dtype=x.dtype)
        return torch.stack([(x * weights).sin().sum(1), (x * weights).square().mean(1)], 1)


CASES = [
    ((4, 3, 12, 12), {"steps": 5, "sigma": 4.0}),
    ((3, 2, 7, 10), {"steps": 3, "sigma": 20.0}),
    ((2, 1, 5), {"steps": 4, "sigma": 0.3}),
    ((2, 2, 3, 4, 5), {"steps": 2, "sigma": 1.0}),
    ((2, 1, 1, 6), {"steps": 1}),
]


@pytest.mark.parametrize(("shape", "options"), CASES)
def test_equals_the_literal_sum(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    pytest.importorskip("scipy")
    model = smooth_cnn() if shape[1:] == (3, 12, 12) else Sines().eval()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    result = BlurIG(model, **options).explain(x, internal_batch_size=3)
    for i in range(len(x)):
        target = int(result.targets[i])

        def score(at: Tensor, target: int = target) -> Tensor:
            with torch.set_grad_enabled(at.requires_grad):
                return model(at).softmax(1)[:, target]

        expected, first = blur_ig(score, x[i : i + 1], **{"sigma": 50.0, **options})
        assert relative_rms(result.attributions[i : i + 1], expected) < 1e-8
        assert abs(float(result.baseline_scores[i] - score(first))) < 1e-10
        assert abs(float(result.delta[i] - (expected.sum() - score(x[i : i + 1]) + score(first)))) < 1e-10
    assert result.evaluations.tolist() == [options["steps"] + 1] * len(x)


def test_a_linear_model_is_explained_exactly_and_others_in_the_limit() -> None:
    x = pictures(3)
    weights = torch.linspace(-1, 1, 432, dtype=x.dtype)
    assert BlurIG(lambda rows: rows.flatten(1) @ weights, steps=2).explain(x).delta.abs().max() < 1e-12
    deltas = [BlurIG(smooth_cnn(), steps=steps, sigma=5.0).explain(x).delta.abs().max() for steps in (10, 100)]
    assert deltas[1] < deltas[0] / 20  # of second order
    assert deltas[1] < 1e-4


def test_items_without_structure_have_nothing_to_explain() -> None:
    x = torch.full((2, 3, 12, 12), 0.7, dtype=torch.float64)
    assert BlurIG(smooth_cnn(), steps=3).attribute(x).abs().max() < 1e-14


def test_each_of_several_inputs_is_blurred() -> None:
    a, b = torch.randn(2, 1, 4, 5).double(), torch.randn(2, 2, 3).double()

    def model(a: Tensor, b: Tensor) -> Tensor:
        return a.flatten(1).sin().sum(1) + b.flatten(1).square().sum(1)

    parts = BlurIG(model, steps=4, sigma=2.0).attribute((a, b))
    torch.testing.assert_close(parts[0], BlurIG(lambda v: v.flatten(1).sin().sum(1), steps=4, sigma=2.0).attribute(a))
    torch.testing.assert_close(
        parts[1], BlurIG(lambda v: v.flatten(1).square().sum(1), steps=4, sigma=2.0).attribute(b)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"inputs: expected spatial dimensions to blur, \(B, C, ...\), got \(2, 6\)"),
        ({"steps": 0}, "steps: expected"),
        ({"sigma": 0.0}, "sigma: expected a positive, finite number"),
    ],
)
def test_errors_name_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BlurIG(bumpy_mlp(), **options).explain(vectors(2))
