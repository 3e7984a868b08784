"""Pixel flipping against closed forms and against the literal definition."""

from __future__ import annotations

import literal_metrics
import pytest
import torch
from all_pairs import all_pairs
from networks import images, smooth_cnn
from torch import Tensor, nn

from xai_fast.errors import InputError, ModelError
from xai_fast.metrics import RANKINGS, insertion_deletion, pixel_flipping


@pytest.mark.parametrize(
    ("baseline", "ranking", "order"), all_pairs(["black", "blur", "flip"], RANKINGS, ["descending", "ascending"])
)
def test_equals_the_definition(baseline: str, ranking: str, order: str) -> None:
    model, x, maps = smooth_cnn(), images(2), images(2, seed=9)
    ends = {
        "black": torch.full_like(x, -0.7),
        "blur": torch.stack([literal_metrics.blur(item, 1.5) for item in x]),
        "flip": -x,
    }
    got = pixel_flipping(
        model,
        x,
        maps,
        target=4,
        score="logit",
        ranking=ranking,
        steps=11,
        order=order,
        baseline=-x if baseline == "flip" else baseline,
        black=-0.7,
        blur_sigma=1.5,
        internal_batch_size=4,
    )
    for item in range(2):
        scores = literal_metrics.curve(
            lambda image: float(model(image[None])[0, 4].detach()),
            x[item],
            ends[baseline][item],
            literal_metrics.importance(maps[item], ranking),
            11,
            order == "descending",
        )
        assert got.curves[item].tolist() == pytest.approx(scores, abs=1e-12)
        assert float(got.aopc[item]) == pytest.approx(sum(scores[0] - s for s in scores) / 12, abs=1e-12)


def test_descending_is_the_deletion_curve() -> None:
    model, x, maps = smooth_cnn(), images(3), images(3, seed=9)
    flipped = pixel_flipping(model, x, maps, ranking="sum_of_abs", baseline="blur", steps=9)
    both = insertion_deletion(model, x, maps, baselines=("blur",), steps=9)
    torch.testing.assert_close(flipped.curves, both.deletion_curves)
    torch.testing.assert_close(flipped.fractions, both.fractions)


def test_linear_model() -> None:
    layer = nn.Linear(4, 1, bias=False).eval()
    layer.weight.data.copy_(torch.tensor([[1.0, -2.0, 4.0, 3.0]]))
    x = torch.ones(1, 4)
    most = pixel_flipping(layer, x, layer.weight, score="logit", steps=4)
    least = pixel_flipping(layer, x, layer.weight, score="logit", steps=4, order="ascending")
    assert most.curves.tolist() == [[6.0, 2.0, -1.0, -2.0, 0.0]]
    assert most.aopc.tolist() == [(0 + 4 + 7 + 8 + 6) / 5]
    assert least.curves.tolist() == [[6.0, 8.0, 7.0, 4.0, 0.0]]
    assert least.aopc.tolist() == [(0 - 2 - 1 + 2 + 6) / 5]


@pytest.mark.parametrize("order", ["descending", "ascending"])
def test_equal_pixels_go_in_reading_order(order: str) -> None:
    layer = nn.Linear(3, 1, bias=False).eval()
    layer.weight.data.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    got = pixel_flipping(layer, torch.ones(1, 3), torch.zeros(1, 3), score="logit", steps=3, order=order)
    assert got.curves.tolist() == [[6.0, 5.0, 3.0, 0.0]]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"order": "random"}, InputError, r"order: expected one of descending, ascending, got 'random'"),
        ({"steps": -1}, InputError, r"steps: expected an integer, at least 1, got -1"),
        (
            {"baseline": "white"},
            InputError,
            r'baseline: expected a number, "black", "blur", "mean" or a tensor, got .white',
        ),
        ({"baseline": torch.zeros(7)}, InputError, r"baseline: expected a tensor that broadcasts to the inputs"),
        ({"baseline": torch.full((2, 1, 1, 1), torch.nan)}, ModelError, r"perturbed inputs of 2 items: 0, 1$"),
        ({"ranking": "max"}, InputError, r"ranking: expected one of"),
        ({"score": "max"}, InputError, r"score: expected one of"),
    ],
)
def test_bad_arguments(change: dict[str, object], error: type[Exception], message: str) -> None:
    def model(x: Tensor) -> Tensor:
        return x.mean((2, 3))

    with pytest.raises(error, match=message):
        pixel_flipping(model, torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), **change)
