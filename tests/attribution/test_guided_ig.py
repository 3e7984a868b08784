"""Guided integrated gradients equal the literal algorithm, whatever the batch, and are complete along their path."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comparison import relative_rms
from literal_walks import gradient_of, guided_ig
from networks import bumpy_mlp, relu_cnn, smooth_cnn, vectors
from networks import images as pictures
from torch import Tensor, nn

from xai_fast import GuidedIG, InputError
from xai_fast.cli.option_values import read_option

SMALL = {"steps": 7, "fraction": 0.25, "max_dist": 0.3}


def probability(model: nn.Module, target: int) -> Any:
    """Give the score of one input; without a graph where none is wanted."""

    def score(at: Tensor) -> Tensor:
        with torch.set_grad_enabled(at.requires_grad):
            return model(at).softmax(1)[:, target]

    return score


class Gated(nn.Module):
    """Half of the gradients are exactly zero, so many entries are tied."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return torch.stack([x[:, ::2].relu().square().sum(1), x[:, ::2].sin().sum(1)], 1)


CASES = [
    ("bumpy", SMALL),
    ("bumpy", {"steps": 1}),
    ("bumpy", {"steps": 12, "fraction": 1.0, "max_dist": 1.0}),
    ("bumpy", {"steps": 9, "fraction": 0.1, "max_dist": 1.0, "baseline": [0.1, -0.2, 0.3, 0.0, 1.0, -1.0]}),
    ("bumpy", {"steps": 9, "fraction": 0.5, "max_dist": 0.0}),
    ("bumpy", {"steps": 9, "fraction": 0.5, "max_dist": 1.0}),
    ("smooth", SMALL),
    ("smooth", {"steps": 5, "baseline": [0.5, 0.0, -0.5]}),
    ("gated", SMALL),
    ("gated", {"steps": 6, "fraction": 0.4, "max_dist": 1.0}),
]


@pytest.mark.parametrize(("network", "options"), CASES)
def test_equals_the_literal_algorithm(network: str, options: dict[str, Any]) -> None:
    model = {"bumpy": bumpy_mlp, "smooth": smooth_cnn, "gated": Gated}[network]().eval()
    x = vectors(5) if network == "bumpy" else pictures(3)[..., :12, :12]
    result = GuidedIG(model, **options).explain(x, internal_batch_size=3)
    baseline = torch.tensor(options.get("baseline", 0.0), dtype=x.dtype).view(-1, *[1] * (x.ndim - 2)).expand(x.shape)
    settings = {"steps": 50, "fraction": 0.1, "max_dist": 0.02, **options}
    settings.pop("baseline", None)
    for i in range(len(x)):
        score = probability(model, int(result.targets[i]))
        expected = guided_ig(score, x[i : i + 1], baseline[i : i + 1], **settings)
        assert relative_rms(result.attributions[i : i + 1], expected) < 1e-8
        first, last = float(score(baseline[i : i + 1])), float(score(x[i : i + 1]))
        assert abs(float(result.delta[i]) - float(expected.sum()) + last - first) < 1e-10
        assert abs(float(result.baseline_scores[i]) - first) < 1e-12
    assert result.evaluations.tolist() == [settings["steps"]] * len(x)


def test_no_distance_from_the_straight_path_is_integrated_gradients() -> None:
    model, x = bumpy_mlp(), vectors(3)
    result = GuidedIG(model, steps=8, max_dist=0.0).explain(x)
    for i in range(3):
        score = probability(model, int(result.targets[i]))
        mean = sum(gradient_of(score, x[i : i + 1] * k / 8) for k in range(8)) / 8
        assert relative_rms(result.attributions[i : i + 1], x[i : i + 1] * mean) < 1e-10


def test_the_path_is_complete_in_the_limit() -> None:
    model, x = bumpy_mlp(), vectors(4)
    deltas = [GuidedIG(model, steps=steps, max_dist=1.0).explain(x).delta.abs().max() for steps in (30, 600)]
    assert deltas[1] < deltas[0] / 10


def test_several_baselines_are_averaged() -> None:
    model, x = bumpy_mlp(), vectors(3)
    several = vectors(4, seed=9)
    together = GuidedIG(model, baseline=several, **SMALL).explain(x, internal_batch_size=5)
    each = [GuidedIG(model, baseline=one, **SMALL).explain(x) for one in several]
    for field in ("attributions", "delta", "baseline_scores"):
        mean = sum(getattr(one, field) for one in each) / 4
        torch.testing.assert_close(getattr(together, field), mean, rtol=1e-10, atol=1e-14)
    assert together.evaluations.tolist() == [4 * 7] * 3


class Two(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([(a.flatten(1).sum(1) * b.sum(1)).sin(), b.square().sum(1)], 1)


def test_several_inputs_share_one_path() -> None:
    a, b = torch.randn(2, 2, 3).double(), torch.randn(2, 4).double()
    parts = GuidedIG(Two().eval(), baseline=(0.0, [0.1, 0.2, 0.3, 0.4]), **SMALL).explain((a, b), 0)
    joined = torch.cat([a.flatten(1), b], 1)
    baseline = torch.tensor([0.0] * 6 + [0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    one = GuidedIG(lambda row: Two()(row[:, :6], row[:, 6:]), baseline=baseline, **SMALL).explain(joined, 0)
    assert [part.shape for part in parts.attributions] == [a.shape, b.shape]
    got = torch.cat([part.flatten(1) for part in parts.attributions], 1)
    torch.testing.assert_close(got, one.attributions, rtol=1e-12, atol=1e-14)


def test_float32_and_an_item_that_is_its_baseline() -> None:
    model, x = relu_cnn(), pictures(2, torch.float32)
    x[1] = 0.0
    result = GuidedIG(model, steps=10).explain(x)
    assert (result.attributions[1] == 0).all()
    assert float(result.delta[1]) == 0
    exact = GuidedIG(relu_cnn(torch.float64), steps=10).explain(x.double(), target=result.targets)
    assert relative_rms(result.attributions.double(), exact.attributions) < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: expected an integer, at least 1, got 0"),
        ({"fraction": 0.0}, "fraction: expected a number above 0 to 1, got 0.0"),
        ({"fraction": 1.5}, "fraction: expected"),
        ({"max_dist": -0.1}, "max_dist: expected a number from 0 to 1, got -0.1"),
        ({"max_dist": True}, "max_dist: expected"),
        ({"baseline": [1.0, 2.0]}, "baseline: expected one finite number, or 6"),
    ],
)
def test_errors_name_the_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GuidedIG(bumpy_mlp(), **options).explain(vectors(2))


def test_a_baseline_by_name_is_read_from_text_and_blurs_the_item() -> None:
    name, baseline = read_option("guided_ig", "baseline=blur")
    result = GuidedIG(smooth_cnn(), steps=3, **{name: baseline}).explain(pictures(2))
    assert result.settings["baseline"] == "blur"
    assert result.delta.isfinite().all()
    assert read_option("guided_ig", "baseline=0,0.5,1") == ("baseline", [0.0, 0.5, 1.0])
